<?php
// php-memcached: with_php_memcached.php PORT text|binary
require __DIR__ . '/kit.php';

if (!class_exists('Memcached')) {
    fwrite(STDERR, "the extension memcached is not loaded\n");
    exit(NOT_INSTALLED);
}
[, $port, $protocol] = $argv;
$binary = $protocol === 'binary';

function open_client(array $options = []): Memcached
{
    global $port, $binary;
    $client = new Memcached();
    $client->setOptions($options + [
        Memcached::OPT_BINARY_PROTOCOL => $binary,
        Memcached::OPT_TCP_NODELAY => true,
        Memcached::OPT_POLL_TIMEOUT => PATIENCE * 1000,
        Memcached::OPT_COMPRESSION => false,
    ]);
    $client->addServer('127.0.0.1', (int)$port);
    return $client;
}

$c = open_client();
$fresh = 0;

$steps = [
    'set_get' => function () use ($c) {
        expect($c->set('key', 'value'), true, 'set');
        expect($c->get('key'), 'value', 'get');
        expect($c->set('key', ''), true, 'set of nothing');
        expect($c->get('key'), '', 'get of nothing');
        expect($c->setMulti(['many1' => '1', 'many2' => '2']), true, 'setMulti');
        expect($c->get('many2'), '2', 'get of one of many');
    },
    'missing' => function () use ($c) {
        expect($c->get('none'), false, 'get');
        expect($c->getResultCode(), Memcached::RES_NOTFOUND, 'result code');
    },
    'multi_get' => function () use ($c) {
        $c->setMulti(['m1' => '1', 'm2' => TINY, 'm3' => '3']);
        expect($c->getMulti(['m1', 'none', 'm2', 'm3'], Memcached::GET_PRESERVE_ORDER),
            ['m1' => '1', 'none' => null, 'm2' => TINY, 'm3' => '3'], 'getMulti');
        expect($c->getMulti(['none', 'nor']), [], 'getMulti of nothing');
        expect($c->getDelayed(['m1', 'm3'], true), true, 'getDelayed');
        $found = array_column($c->fetchAll(), 'value', 'key');
        ksort($found);
        expect($found, ['m1' => '1', 'm3' => '3'], 'fetchAll');
    },
    'wide_multi_get' => function () use ($c) {
        $values = [];
        for ($i = 0; $i < WIDE; $i++) {
            $values["wide$i"] = str_repeat("$i", $i % 50);
        }
        expect($c->setMulti($values), true, 'setMulti');
        $left = $values;
        for ($i = 0; $i < WIDE; $i += 5) {
            $c->delete("wide$i");
            unset($left["wide$i"]);
        }
        $found = $c->getMulti(array_keys($values));
        ksort($found);
        ksort($left);
        expect($found, $left, 'getMulti');
    },
    'delete' => function () use ($c) {
        $c->set('key', 'value');
        expect($c->delete('key'), true, 'delete');
        expect($c->delete('key'), false, 'delete again');
        expect($c->getResultCode(), Memcached::RES_NOTFOUND, 'result code');
        expect($c->get('key'), false, 'get');
    },
    'add_replace' => function () use ($c, $binary) {
        $c->delete('key');
        expect($c->replace('key', '1'), false, 'replace of nothing');
        expect($c->getResultCode(), $binary ? Memcached::RES_NOTFOUND : Memcached::RES_NOTSTORED,
            'result code');
        expect($c->add('key', '2'), true, 'add');
        expect($c->add('key', '3'), false, 'add again');
        expect($c->getResultCode(),
            $binary ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED, 'result code');
        expect($c->get('key'), '2', 'get after add');
        expect($c->replace('key', '4'), true, 'replace');
        expect($c->get('key'), '4', 'get after replace');
    },
    'append_prepend' => function () use ($c) {
        $c->delete('key');
        expect($c->append('key', '1'), false, 'append to nothing');
        expect($c->prepend('key', '1'), false, 'prepend to nothing');
        $c->set('key', 'middle');
        expect($c->append('key', " end\r\n"), true, 'append');
        expect($c->prepend('key', 'start '), true, 'prepend');
        expect($c->get('key'), "start middle end\r\n", 'get');
    },
    'cas' => function () use ($c) {
        $c->set('key', '1');
        $seen = $c->get('key', null, Memcached::GET_EXTENDED);
        expect($seen['value'], '1', 'get with GET_EXTENDED');
        expect($c->cas($seen['cas'], 'key', '2'), true, 'cas');
        expect($c->cas($seen['cas'], 'key', '3'), false, 'cas again');
        expect($c->getResultCode(), Memcached::RES_DATA_EXISTS, 'result code');
        expect($c->get('key'), '2', 'get');
    },
    'incr_decr' => function () use ($c, $binary) {
        $c->delete('n');
        expect($c->increment('n'), false, 'increment of nothing');
        $c->set('n', 10);
        expect($c->increment('n', 5), 15, 'increment');
        expect($c->decrement('n', 6), 9, 'decrement');
        expect($c->get('n'), 9, 'get of the number');
        expect($c->decrement('n', 100), 0, 'decrement below nothing');
        if ($binary) {
            $c->delete('n');
            expect($c->increment('n', 5, 7, 1000), 7, 'increment with an initial value');
            expect($c->increment('n', 5, 7, 1000), 12, 'increment');
        }
    },
    'touch' => function () use ($c) {
        expect($c->touch('none', 10), false, 'touch of nothing');
        $c->set('key', 'value');
        expect($c->touch('key', 1000), true, 'touch');
        expect($c->get('key'), 'value', 'get');
        expect($c->touch('key', 1), true, 'touch');
        expect_soon(fn() => $c->get('key'), false, 'touched for one second');
    },
    'expiry' => function () use ($c) {
        $c->set('stays', '1', 1000);
        $c->set('goes', '2', 1);
        expect_soon(fn() => $c->get('goes'), false, 'set for one second');
        expect($c->get('stays'), '1', 'set for 1000 seconds');
    },
    'types' => function () use ($c) {
        $values = ['text' => 'x', 'number' => -7, 'fraction' => 1.5, 'true' => true,
            'false' => false, 'null' => null, 'list' => [1, ['a' => null]]];
        expect($c->setMulti($values), true, 'setMulti');
        foreach ($values as $key => $value) {
            expect($c->get($key), $value, "get of $key");
        }
        $compressing = open_client([Memcached::OPT_COMPRESSION => true]);
        $long = str_repeat('long ', 1000);
        expect($compressing->set('long', $long), true, 'set of a compressed text');
        expect($compressing->get('long'), $long, 'get of a compressed text');
        $flagging = open_client([Memcached::OPT_USER_FLAGS => 4711]);
        $flagging->set('flagged', 'x');
        expect($flagging->get('flagged', null, Memcached::GET_EXTENDED)['flags'], 4711,
            'flags of the user');
    },
    'binary_safe' => function () use ($c) {
        $c->set('bytes', all_bytes());
        expect($c->get('bytes'), all_bytes(), 'get');
    },
    'large_value' => function () use ($c) {
        $large = noise((1 << 20) - 1024);
        expect($c->set('large', $large), true, 'set');
        expect($c->get('large') === $large, true, 'get is what was set');
    },
    'too_large' => function () use ($c) {
        $c->set('large', 'small');
        expect($c->set('large', noise(2 << 20)), false, 'set');
        expect($c->getResultCode(), Memcached::RES_E2BIG, 'result code');
        expect($c->get('large'), false, 'get');
    },
    'quiet' => function () use ($c) {
        $quiet = open_client([Memcached::OPT_NOREPLY => true]);
        for ($i = 0; $i < 300; $i++) {
            $quiet->set("quiet$i", "$i");
        }
        $quiet->delete('quiet7');
        $quiet->add('quiet8', 'no');
        expect($quiet->get('quiet299'), '299', 'get on the same connection');
        expect($quiet->get('quiet7'), false, 'get of what was deleted');
        expect($c->get('quiet8'), '8', 'get on another connection');
        $ahead = open_client([Memcached::OPT_BUFFER_WRITES => true,
            Memcached::OPT_NO_BLOCK => true]);
        for ($i = 0; $i < 300; $i++) {
            $ahead->set("ahead$i", "$i");
        }
        expect($ahead->get('ahead299'), '299', 'get after buffered sets');
    },
    'flush' => function () use ($c) {
        $c->set('key', 'value');
        expect($c->flush(), true, 'flush');
        expect($c->get('key'), false, 'get');
    },
    'version' => function () use ($c, $port) {
        $version = explode('.', $c->getVersion()["127.0.0.1:$port"]);
        expect(array_slice($version, 0, 2), ['1', '6'], 'version');
    },
    'stats' => function () use ($c, $port) {
        $stats = $c->getStats()["127.0.0.1:$port"];
        expect(array_slice(explode('.', $stats['version']), 0, 2), ['1', '6'], 'version in stats');
    },
];

run('php-memcached', phpversion('memcached'), $steps, ['gat' => 'not in its interface'],
    function () use ($c, &$fresh) {
        $value = 'sync ' . $fresh++;
        expect($c->set('sync', $value), true, 'set after the step');
        expect($c->get('sync'), $value, 'get after the step');
    });
