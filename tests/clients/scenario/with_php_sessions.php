<?php
// php-memcached as PHP's session handler: with_php_sessions.php PORT text|binary
//
// A second process (this script with a third argument) is the other request of the same user.
require __DIR__ . '/kit.php';

if (!class_exists('Memcached')) {
    fwrite(STDERR, "the extension memcached is not loaded\n");
    exit(NOT_INSTALLED);
}
[, $port, $protocol] = $argv;

function use_handler(array $settings = []): void
{
    global $port, $protocol;
    $settings += [
        'session.save_handler' => 'memcached',
        'session.save_path' => "127.0.0.1:$port",
        'session.use_cookies' => '0',
        'session.use_only_cookies' => '0',
        'session.cache_limiter' => '',
        'session.use_strict_mode' => '0',
        'session.lazy_write' => '1',
        'memcached.sess_binary_protocol' => $protocol === 'binary' ? '1' : '0',
        'memcached.sess_locking' => '1',
        'memcached.sess_lock_wait_min' => '20',
        'memcached.sess_lock_wait_max' => '40',
        'memcached.sess_lock_retries' => '3',
        'memcached.sess_prefix' => 'memc.sess.',
    ];
    foreach ($settings as $name => $value) {
        if (ini_set($name, $value) === false) {
            throw new Exception("$name cannot be set");
        }
    }
}

function open_session(string $id): bool
{
    session_id($id);
    try {
        return session_start();
    } catch (ErrorException $error) {   // "Unable to clear session lock record", "Failed to read"
        return false;
    }
}

// What is printed holds back headers, and session_start() wants to send them.
ob_start();
use_handler();

if (isset($argv[3])) {
    $opened = open_session($argv[3]);
    echo json_encode([$opened, $opened ? $_SESSION['n'] ?? null : null]);
    if ($opened) {
        $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
        session_write_close();
    }
    exit(0);
}

// -> [whether the other process got the session, the n that it saw]
function other_request(string $id): array
{
    global $port, $protocol;
    $command = [PHP_BINARY, __FILE__, $port, $protocol, $id];
    $said = shell_exec(implode(' ', array_map('escapeshellarg', $command)));
    return json_decode((string)$said, true) ?? throw new Exception("the other request said: $said");
}

$raw = new Memcached();
$raw->setOption(Memcached::OPT_BINARY_PROTOCOL, $protocol === 'binary');
$raw->addServer('127.0.0.1', (int)$port);

$steps = [
    'session_write_read' => function () use ($raw) {
        $data = ['n' => 7, 'name' => "\0ä\r\n", 'list' => [1, ['a' => null]]];
        expect(open_session('one'), true, 'session_start');
        expect($_SESSION, [], 'a new session');
        $_SESSION = $data;
        expect(session_write_close(), true, 'session_write_close');
        expect(is_string($raw->get('memc.sess.one')), true, 'what was written is there');
        $_SESSION = [];
        expect(open_session('one'), true, 'session_start again');
        expect($_SESSION, $data, 'the same session');
        session_write_close();
    },
    'session_two_processes' => function () {
        open_session('two');
        $_SESSION['n'] = 41;
        session_write_close();
        expect(other_request('two'), [true, 41], 'the other request');
        open_session('two');
        expect($_SESSION['n'], 42, 'what the other request has written');
        session_write_close();
    },
    'session_lock' => function () use ($raw) {
        open_session('locked');
        expect($raw->get('memc.sess.lock.locked') !== false, true, 'the lock is there');
        expect(other_request('locked'), [false, null], 'the other request meanwhile');
        $_SESSION['n'] = 1;
        session_write_close();
        expect($raw->get('memc.sess.lock.locked'), false, 'the lock afterwards');
        expect(other_request('locked'), [true, 1], 'the other request afterwards');
    },
    'session_unchanged' => function () use ($raw) {
        // Nothing has changed: lazy_write touches the entry only.
        open_session('same');
        $_SESSION['n'] = 1;
        session_write_close();
        $before = $raw->get('memc.sess.same', null, Memcached::GET_EXTENDED)['cas'];
        open_session('same');
        session_write_close();
        $after = $raw->get('memc.sess.same', null, Memcached::GET_EXTENDED)['cas'];
        expect($after, $before, 'cas number of the entry');
    },
    'session_new_id' => function () use ($raw) {
        open_session('old');
        $_SESSION['n'] = 5;
        expect(session_regenerate_id(true), true, 'session_regenerate_id');
        $id = session_id();
        session_write_close();
        expect($raw->get('memc.sess.old'), false, 'the old entry');
        expect(other_request($id), [true, 5], 'under the new id');
    },
    'session_destroy' => function () use ($raw) {
        open_session('gone');
        $_SESSION['n'] = 1;
        session_write_close();
        open_session('gone');
        expect(session_destroy(), true, 'session_destroy');
        expect($raw->get('memc.sess.gone'), false, 'the entry');
        expect($raw->get('memc.sess.lock.gone'), false, 'the lock');
    },
    'session_expiry' => function () use ($raw) {
        ini_set('session.gc_maxlifetime', '1');
        open_session('short');
        $_SESSION['n'] = 1;
        session_write_close();
        ini_set('session.gc_maxlifetime', '1440');
        expect_soon(fn() => $raw->get('memc.sess.short'), false, 'a session of one second');
        open_session('short');
        expect($_SESSION, [], 'the session afterwards');
        session_write_close();
    },
];

run('php-sessions', phpversion('memcached'), $steps, [], function () {
    if (session_status() === PHP_SESSION_ACTIVE) {
        session_abort();
    }
});
