# kit.pm -- the frame of a client's scenario in Perl; kit.py says what it prints.
package kit;
use strict;
use warnings;
use Time::HiRes qw(sleep time);

our $PATIENCE = 20;
our $TINY = "\0\1\xff\r\nEND\r\nVALUE x 0 1\r\n";
our $ALL_BYTES = join('', map { chr } 0 .. 255) . $TINY;
our $WIDE = 500;

# Bytes that look random, always the same ones.
sub noise {
    my ($size) = @_;
    my ($state, @words) = (12345);
    for (1 .. $size / 4 + 1) {
        $state = ($state * 1103515245 + 12345) & 0x7fffffff;
        push @words, $state;
    }
    return substr(pack('V*', @words), 0, $size);
}

our $LARGE = noise((1 << 20) - 1024);
our $TOO_LARGE = noise(2 << 20);

sub show {
    my ($x) = @_;
    return 'undef' unless defined $x;
    return '{' . join(', ', map { "$_ => " . show($x->{$_}) } sort keys %$x) . '}'
        if ref $x eq 'HASH';
    return '[' . join(', ', map { show($_) } @$x) . ']' if ref $x eq 'ARRAY';
    return "\"$x\"";
}

sub expect {
    my ($got, $wanted, $what) = @_;
    return if show($got) eq show($wanted);
    die sprintf("%s: got %.80s, not %.80s\n", $what, show($got), show($wanted));
}

# What Perl takes for true, or for false.
sub yes { my ($got, $what) = @_; die "$what: got " . show($got) . ", not true\n" unless $got }
sub no  { my ($got, $what) = @_; die "$what: got " . show($got) . ", not false\n" if $got }

sub expect_soon {
    my ($call, $wanted, $what) = @_;
    my $end = time + $PATIENCE;
    while (show($call->()) ne show($wanted)) {
        die "$what: not within $PATIENCE seconds\n" if time > $end;
        sleep 0.05;
    }
}

# steps: [name, sub]...; lacks: {name, why}.
sub run {
    my ($name, $version, $steps, $lacks, $in_sync) = @_;
    $| = 1;
    print "client $name $version\n";
    for (@$steps) {
        my ($step, $do) = @$_;
        next if $lacks->{$step};
        if (eval { $do->(); $in_sync->(); 1 }) {
            print "ok $step\n";
        } else {
            (my $why = $@) =~ s/[^ -~]+/ /g;
            print "not ok $step $why\n";
        }
    }
    print "- $_ $lacks->{$_}\n" for sort keys %$lacks;
    print "end\n";
}

1;
