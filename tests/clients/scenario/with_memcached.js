// memcached, the client of that name from npm: with_memcached.js PORT
'use strict';
const kit = require('./kit.js');
const {expect, expectError, expectSoon} = kit;
const [Memcached, version] = kit.load('memcached');

const server = `127.0.0.1:${process.argv[2]}`;
// Its functions as promises: c.get(key) instead of client.get(key, callback).
const open = () => new Proxy(
  new Memcached(server, {timeout: kit.PATIENCE * 1000, maxValue: 64 << 20, poolSize: 1}),
  {get: (target, name) => (...args) => new Promise((done, fail) =>
    target[name](...args, (error, result) => error ? fail(error) : done(result)))});
const c = open();
let fresh = 0;

async function inSync() {
  const value = `sync ${fresh++}`;
  expect(await c.set('sync', value, 0), true, 'set after the step');
  expect(await c.get('sync'), value, 'get after the step');
}

const steps = {
  async set_get() {
    expect(await c.set('key', 'value', 0), true, 'set');
    expect(await c.get('key'), 'value', 'get');
    expect(await c.set('key', '', 0), true, 'set of nothing');
    expect(await c.get('key'), '', 'get of nothing');
  },
  async missing() {
    expect(await c.get('none'), undefined, 'get');
    expect(await c.gets('none'), undefined, 'gets');
  },
  async multi_get() {
    const values = {m1: '1', m2: 'a\r\nEND\r\nb', m3: '3'};
    for (const [key, value] of Object.entries(values)) {
      await c.set(key, value, 0);
    }
    expect(await c.getMulti(['m1', 'none', 'm2', 'm3']), values, 'getMulti');
    expect(await c.getMulti(['none', 'nor']), {}, 'getMulti of nothing');
  },
  async wide_multi_get() {
    const values = {};
    for (let i = 0; i < kit.WIDE; i++) {
      values[`wide${i}`] = `${i}`.repeat(1 + i % 50);
      await c.set(`wide${i}`, values[`wide${i}`], 0);
    }
    const keys = Object.keys(values);
    for (let i = 0; i < kit.WIDE; i += 5) {
      await c.del(`wide${i}`);
      delete values[`wide${i}`];
    }
    expect(await c.getMulti(keys), values, 'getMulti');
  },
  async delete() {
    await c.set('key', 'value', 0);
    expect(await c.del('key'), true, 'del');
    expect(await c.del('key'), false, 'del again');
    expect(await c.get('key'), undefined, 'get');
  },
  async add_replace() {
    await c.del('key');
    await expectError(c.replace('key', '1', 0), 'replace of nothing');
    expect(await c.add('key', '2', 0), true, 'add');
    await expectError(c.add('key', '3', 0), 'add again');
    expect(await c.get('key'), '2', 'get after add');
    expect(await c.replace('key', '4', 0), true, 'replace');
    expect(await c.get('key'), '4', 'get after replace');
  },
  async append_prepend() {
    await c.del('key');
    await expectError(c.append('key', '1'), 'append to nothing');
    await expectError(c.prepend('key', '1'), 'prepend to nothing');
    await c.set('key', 'middle', 0);
    expect(await c.append('key', ' end'), true, 'append');
    expect(await c.prepend('key', 'start '), true, 'prepend');
    expect(await c.get('key'), 'start middle end', 'get');
  },
  async cas() {
    await c.set('key', '1', 0);
    const seen = await c.gets('key');
    expect(seen.key, '1', 'gets');
    expect(await c.cas('key', '2', seen.cas, 0), true, 'cas');
    expect(await c.cas('key', '3', seen.cas, 0), false, 'cas again');
    expect(await c.get('key'), '2', 'get');
  },
  async incr_decr() {
    await c.del('n');
    expect(await c.incr('n', 1), false, 'incr of nothing');
    await c.set('n', 10, 0);
    expect(await c.incr('n', 5), 15, 'incr');
    expect(await c.decr('n', 6), 9, 'decr');
    expect(await c.get('n'), 9, 'get of the number');
    expect(await c.decr('n', 100), 0, 'decr below nothing');
  },
  async touch() {
    expect(await c.touch('none', 10), false, 'touch of nothing');
    await c.set('key', 'value', 0);
    expect(await c.touch('key', 1000), true, 'touch');
    expect(await c.get('key'), 'value', 'get');
    expect(await c.touch('key', 1), true, 'touch');
    await expectSoon(() => c.get('key'), undefined, 'touched for one second');
  },
  async expiry() {
    await c.set('stays', '1', 1000);
    await c.set('goes', '2', 1);
    await expectSoon(() => c.get('goes'), undefined, 'set for one second');
    expect(await c.get('stays'), '1', 'set for 1000 seconds');
  },
  async types() {
    const values = {text: '\u00e4\u20ac', number: 7, object: {list: [1, {a: null}]},
      bytes: Buffer.from([0, 1, 2, 3])};
    for (const [key, value] of Object.entries(values)) {
      await c.set(key, value, 0);
      expect(await c.get(key), value, `get of ${key}`);
    }
  },
  async binary_safe() {
    await c.set('bytes', kit.ALL_BYTES, 0);
    expect(await c.get('bytes'), kit.ALL_BYTES, 'get');
  },
  // As text: it takes minutes over a Buffer of this size.
  async large_value() {
    const large = kit.LARGE.toString('hex').slice(0, kit.LARGE.length);
    expect(await c.set('large', large, 0), true, 'set');
    expect(await c.get('large') === large, true, 'get is what was set');
  },
  async too_large() {
    await c.set('large', 'small', 0);
    // After a SERVER_ERROR it leaves the server alone for a while, so another client does this.
    expect(await open().set('large', kit.TOO_LARGE.toString('hex'), 0), false, 'set');
    expect(await c.get('large'), undefined, 'get');
  },
  async flush() {
    await c.set('key', 'value', 0);
    expect(await c.flush(), [true], 'flush');
    expect(await c.get('key'), undefined, 'get');
  },
  async version() {
    const [found] = await c.version();
    expect([found.major, found.minor], ['1', '6'], 'version');
  },
  async stats() {
    const [found] = await c.stats();
    expect(String(found.version).split('.').slice(0, 2), ['1', '6'], 'version in stats');
  },
};

kit.run('memcached', version, steps,
  {gat: 'not in its interface', quiet: 'it has no noreply'}, inSync);
