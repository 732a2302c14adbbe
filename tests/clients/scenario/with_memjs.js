// memjs: with_memjs.js PORT
'use strict';
const kit = require('./kit.js');
const {expect, expectError, expectSoon} = kit;
const [memjs, version] = kit.load('memjs');

const silent = {log() {}};
const open = more => memjs.Client.create(`127.0.0.1:${process.argv[2]}`,
  Object.assign({timeout: kit.PATIENCE, retries: 0, logger: silent}, more));
const c = open();
const text = async key => {
  const {value} = await c.get(key);
  return value && value.toString('latin1');
};
let fresh = 0;

async function inSync() {
  const value = `sync ${fresh++}`;
  expect(await c.set('sync', value), true, 'set after the step');
  expect(await text('sync'), value, 'get after the step');
}

const steps = {
  async set_get() {
    expect(await c.set('key', 'value'), true, 'set');
    expect(await text('key'), 'value', 'get');
    expect(await c.set('key', ''), true, 'set of nothing');
    expect(await text('key'), '', 'get of nothing');
  },
  async missing() {
    expect((await c.get('none')).value, null, 'get');
  },
  async delete() {
    await c.set('key', 'value');
    expect(await c.delete('key'), true, 'delete');
    expect(await c.delete('key'), false, 'delete again');
    expect(await text('key'), null, 'get');
  },
  async add_replace() {
    await c.delete('key');
    expect(await c.replace('key', '1'), false, 'replace of nothing');
    expect(await c.add('key', '2'), true, 'add');
    expect(await c.add('key', '3'), false, 'add again');
    expect(await text('key'), '2', 'get after add');
    expect(await c.replace('key', '4'), true, 'replace');
    expect(await text('key'), '4', 'get after replace');
  },
  // Its prepend sends the opcode of append: it is not tried.
  async append_prepend() {
    await c.delete('key');
    await expectError(c.append('key', '1'), 'append to nothing');
    await c.set('key', 'start');
    expect(await c.append('key', ' end\r\n'), true, 'append');
    expect(await text('key'), 'start end\r\n', 'get');
  },
  async incr_decr() {
    await c.delete('n');
    expect(await c.increment('n', 1, {initial: 10}), {success: true, value: 10},
      'increment with an initial value');
    expect(await c.increment('n', 5, {}), {success: true, value: 15}, 'increment');
    expect(await c.decrement('n', 6, {}), {success: true, value: 9}, 'decrement');
    expect(await c.decrement('n', 100, {}), {success: true, value: 0}, 'decrement below nothing');
    await c.set('n', 'text');
    await expectError(c.increment('n', 1, {}), 'increment of a text');
  },
  async touch() {
    expect(await c.touch('none', 10), false, 'touch of nothing');
    await c.set('key', 'value');
    expect(await c.touch('key', 1000), true, 'touch');
    expect(await text('key'), 'value', 'get');
    expect(await c.touch('key', 1), true, 'touch');
    await expectSoon(() => text('key'), null, 'touched for one second');
  },
  async expiry() {
    await c.set('stays', '1', {expires: 1000});
    await c.set('goes', '2', {expires: 1});
    await expectSoon(() => text('goes'), null, 'set for one second');
    expect(await text('stays'), '1', 'set for 1000 seconds');
  },
  // A serializer keeps in the flags what a value was.
  async types() {
    const typed = open({serializer: {
      serialize(opcode, value, extras) {
        if (opcode === 1 && typeof value !== 'string') {
          extras.writeUInt32BE(0xfffffff7, 0);
          value = JSON.stringify(value);
        }
        return {value, extras};
      },
      deserialize(opcode, value, extras) {
        const flags = extras.length ? extras.readUInt32BE(0) : 0;
        return {value: flags === 0xfffffff7 ? JSON.parse(value) : value, extras};
      },
    }});
    const object = {list: [1, {a: null}], text: '\u00e4'};
    await typed.set('object', object);
    expect((await typed.get('object')).value, object, 'get');
    await typed.set('text', 'text');
    expect((await typed.get('text')).value, Buffer.from('text'), 'get of a text');
    typed.close();
  },
  async binary_safe() {
    await c.set('bytes', kit.ALL_BYTES);
    expect((await c.get('bytes')).value, kit.ALL_BYTES, 'get');
  },
  async large_value() {
    expect(await c.set('large', kit.LARGE), true, 'set');
    expect((await c.get('large')).value.equals(kit.LARGE), true, 'get is what was set');
  },
  async too_large() {
    await c.set('large', 'small');
    await expectError(c.set('large', kit.TOO_LARGE), 'set');
    expect(await text('large'), null, 'get');
  },
  async flush() {
    await c.set('key', 'value');
    expect(await c.flush(), {[`127.0.0.1:${process.argv[2]}`]: true}, 'flush');
    expect(await text('key'), null, 'get');
  },
  async stats() {
    const found = await new Promise((done, fail) => c.stats(
      (error, server, stats) => error ? fail(error) : done(stats)));
    expect(found.version.split('.').slice(0, 2), ['1', '6'], 'version in stats');
  },
};

const no = 'not in its interface';
kit.run('memjs', version, steps,
  {multi_get: no, wide_multi_get: no, cas: no, gat: no, quiet: no, version: no}, inSync);
