<?php
// kit.php -- the frame of a client's scenario in PHP; kit.py says what it prints.

const NOT_INSTALLED = 77;
const PATIENCE = 20;
const TINY = "\0\1\xff\r\nEND\r\nVALUE x 0 1\r\n";
const WIDE = 500;

error_reporting(E_ALL);
set_error_handler(function ($number, $text, $file, $line) {
    throw new ErrorException($text, 0, $number, $file, $line);
});

function all_bytes(): string
{
    return implode('', array_map('chr', range(0, 255))) . TINY;
}

// Bytes that look random, always the same ones.
function noise(int $size): string
{
    mt_srand(1);
    $words = [];
    for ($i = 0; $i <= $size / 4; $i++) {
        $words[] = pack('V', mt_rand());
    }
    return substr(implode('', $words), 0, $size);
}

function expect($got, $wanted, string $what): void
{
    if ($got !== $wanted) {
        throw new Exception(sprintf('%s: got %.80s, not %.80s', $what, var_export($got, true),
            var_export($wanted, true)));
    }
}

function expect_soon(callable $call, $wanted, string $what): void
{
    $end = microtime(true) + PATIENCE;
    while ($call() !== $wanted) {
        if (microtime(true) > $end) {
            throw new Exception("$what: not within " . PATIENCE . ' seconds');
        }
        usleep(50000);
    }
}

// $steps: [name => function]; $lacks: [name => why].
function run(string $name, string $version, array $steps, array $lacks, callable $in_sync): void
{
    echo "client $name $version\n";
    foreach ($steps as $step => $do) {
        try {
            $do();
            $in_sync();
            echo "ok $step\n";
        } catch (Throwable $error) {
            echo "not ok $step ", preg_replace('/[^ -~]+/', ' ', $error->getMessage()), "\n";
        }
        flush();
    }
    foreach ($lacks as $step => $why) {
        echo "- $step $why\n";
    }
    echo "end\n";
}
