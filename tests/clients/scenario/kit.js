// kit.js -- the frame of a client's scenario in JavaScript; kit.py says what it prints.
'use strict';
const crypto = require('crypto');
const util = require('util');

const NOT_INSTALLED = 77;
exports.PATIENCE = 20;
exports.TINY = Buffer.from('\0\x01\xff\r\nEND\r\nVALUE x 0 1\r\n', 'latin1');
exports.ALL_BYTES = Buffer.concat([Buffer.from([...Array(256).keys()]), exports.TINY]);
exports.WIDE = 500;

// Bytes that look random, always the same ones.
function noise(size) {
  const cipher = crypto.createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(size));
}
exports.LARGE = noise((1 << 20) - 1024);
exports.TOO_LARGE = noise(2 << 20);

exports.load = name => {
  try {
    return [require(name), require(name + '/package.json').version];
  } catch (error) {
    console.error(error.message);
    process.exit(NOT_INSTALLED);
  }
};

const show = value => util.inspect(value, {breakLength: Infinity}).slice(0, 80);

exports.expect = (got, wanted, what) => {
  if (!util.isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${show(got)}, not ${show(wanted)}`);
  }
};

exports.expectError = async (promise, what) => {
  let got;
  try {
    got = await promise;
  } catch (error) {
    return;
  }
  throw new Error(`${what}: no error, but ${show(got)}`);
};

exports.expectSoon = async (call, wanted, what) => {
  const end = Date.now() + exports.PATIENCE * 1000;
  while (!util.isDeepStrictEqual(await call(), wanted)) {
    if (Date.now() > end) {
      throw new Error(`${what}: not within ${exports.PATIENCE} seconds`);
    }
    await new Promise(done => setTimeout(done, 50));
  }
};

const limited = promise => Promise.race([promise, new Promise((_, fail) => setTimeout(
  () => fail(new Error('no answer')), 2 * exports.PATIENCE * 1000).unref())]);

// steps: {name: async function}; lacks: {name: why}.
exports.run = async (name, version, steps, lacks, inSync) => {
  console.log(`client ${name} ${version}`);
  for (const [step, run] of Object.entries(steps)) {
    try {
      await limited(run());
      await limited(inSync());
      console.log(`ok ${step}`);
    } catch (error) {
      const why = util.types.isNativeError(error) ? error.message : show(error);
      console.log(`not ok ${step} ${why.replace(/[^ -~]+/g, ' ')}`);
    }
  }
  for (const [step, why] of Object.entries(lacks)) {
    console.log(`- ${step} ${why}`);
  }
  console.log('end');
  process.exit(0);
};
