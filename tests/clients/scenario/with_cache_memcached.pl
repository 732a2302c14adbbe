# Cache::Memcached and Cache::Memcached::Fast: with_cache_memcached.pl PORT CLASS
#
# Their interfaces are nearly the same; $fast says where they differ.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use kit;

my ($port, $class) = @ARGV;
my $fast = $class eq 'Cache::Memcached::Fast';
unless (eval "require $class; 1") {
    print STDERR $@;
    exit 77;
}

sub open_client {
    my $server = "127.0.0.1:$port";
    return $fast
        ? $class->new({ servers => [$server], io_timeout => $kit::PATIENCE,
                        connect_timeout => $kit::PATIENCE, max_size => 64 << 20, @_ })
        : $class->new({ servers => [$server], select_timeout => $kit::PATIENCE,
                        connect_timeout => $kit::PATIENCE, @_ });
}

my $c = open_client();
my $fresh = 0;

sub in_sync {
    my $value = 'sync ' . $fresh++;
    kit::yes($c->set('sync', $value), 'set after the step');
    kit::expect($c->get('sync'), $value, 'get after the step');
}

my @steps = (
    [set_get => sub {
        kit::yes($c->set('key', 'value'), 'set');
        kit::expect($c->get('key'), 'value', 'get');
        kit::yes($c->set('key', ''), 'set of nothing');
        kit::expect($c->get('key'), '', 'get of nothing');
    }],
    [missing => sub {
        kit::expect(scalar $c->get('none'), undef, 'get');
    }],
    [multi_get => sub {
        $c->set('m1', '1');
        $c->set('m2', $kit::TINY);
        $c->set('m3', '3');
        kit::expect($c->get_multi(qw(m1 none m2 m3)),
                    { m1 => '1', m2 => $kit::TINY, m3 => '3' }, 'get_multi');
        kit::expect($c->get_multi(qw(none nor)), {}, 'get_multi of nothing');
    }],
    [wide_multi_get => sub {
        my %values = map { ("wide$_" => $_ x ($_ % 50)) } 0 .. $kit::WIDE - 1;
        my @keys = keys %values;
        $c->set($_, $values{$_}) for @keys;
        for (my $i = 0; $i < $kit::WIDE; $i += 5) {
            $c->delete("wide$i");
            delete $values{"wide$i"};
        }
        kit::expect($c->get_multi(@keys), \%values, 'get_multi');
    }],
    [delete => sub {
        $c->set('key', 'value');
        kit::yes($c->delete('key'), 'delete');
        kit::no($c->delete('key'), 'delete again');
        kit::expect(scalar $c->get('key'), undef, 'get');
    }],
    [add_replace => sub {
        $c->delete('key');
        kit::no($c->replace('key', '1'), 'replace of nothing');
        kit::yes($c->add('key', '2'), 'add');
        kit::no($c->add('key', '3'), 'add again');
        kit::expect($c->get('key'), '2', 'get after add');
        kit::yes($c->replace('key', '4'), 'replace');
        kit::expect($c->get('key'), '4', 'get after replace');
    }],
    [append_prepend => sub {
        $c->delete('key');
        kit::no($c->append('key', '1'), 'append to nothing');
        kit::no($c->prepend('key', '1'), 'prepend to nothing');
        $c->set('key', 'middle');
        kit::yes($c->append('key', " end\r\n"), 'append');
        kit::yes($c->prepend('key', 'start '), 'prepend');
        kit::expect($c->get('key'), "start middle end\r\n", 'get');
    }],
    [cas => sub {
        $c->set('key', '1');
        my $seen = $c->gets('key');
        kit::expect($seen->[1], '1', 'gets');
        kit::yes($c->cas('key', $seen->[0], '2'), 'cas');
        my $again = $c->cas('key', $seen->[0], '3');
        kit::yes(defined $again && !$again, 'cas again answers false');
        kit::expect($c->get('key'), '2', 'get');
        kit::expect($c->gets_multi('key', 'none')->{key}[1], '2', 'gets_multi');
    }],
    [incr_decr => sub {
        $c->delete('n');
        kit::no($c->incr('n', 1), 'incr of nothing');
        $c->set('n', 10);
        kit::expect($c->incr('n', 5), '15', 'incr');
        kit::expect($c->decr('n', 6), '9', 'decr');
        kit::expect($c->decr('n', 100) + 0, 0, 'decr below nothing');
    }],
    [touch => sub {
        kit::no($c->touch('none', 10), 'touch of nothing');
        $c->set('key', 'value');
        kit::yes($c->touch('key', 1000), 'touch');
        kit::expect($c->get('key'), 'value', 'get');
        kit::yes($c->touch('key', 1), 'touch');
        kit::expect_soon(sub { scalar $c->get('key') }, undef, 'touched for one second');
    }],
    [gat => sub {
        kit::expect(scalar $c->gat(10, 'none'), undef, 'gat of nothing');
        $c->set('key', 'value');
        kit::expect($c->gat(1000, 'key'), 'value', 'gat');
        kit::expect($c->gat_multi(1000, 'key', 'none'), { key => 'value' }, 'gat_multi');
        kit::expect($c->gats(1000, 'key')->[1], 'value', 'gats');
        kit::expect($c->gat(1, 'key'), 'value', 'gat');
        kit::expect_soon(sub { scalar $c->get('key') }, undef, 'touched for one second');
    }],
    [expiry => sub {
        $c->set('stays', '1', 1000);
        $c->set('goes', '2', 1);
        kit::expect_soon(sub { scalar $c->get('goes') }, undef, 'set for one second');
        kit::expect($c->get('stays'), '1', 'set for 1000 seconds');
    }],
    [types => sub {
        my $object = { list => [1, { a => undef }], text => 'x' };
        $c->set('object', $object);
        kit::expect($c->get('object'), $object, 'get');
        my $long = 'long ' x 1000;
        my $compressing = open_client(compress_threshold => 100);
        $compressing->set('long', $long);
        kit::expect($compressing->get('long'), $long, 'get of a compressed text');
        kit::expect($compressing->get_multi('long', 'object'),
                    { long => $long, object => $object }, 'get_multi of both');
    }],
    [binary_safe => sub {
        $c->set('bytes', $kit::ALL_BYTES);
        kit::expect($c->get('bytes'), $kit::ALL_BYTES, 'get');
    }],
    [large_value => sub {
        kit::yes($c->set('large', $kit::LARGE), 'set');
        kit::expect($c->get('large'), $kit::LARGE, 'get');
    }],
    [too_large => sub {
        $c->set('large', 'small');
        kit::no(scalar $c->set('large', $kit::TOO_LARGE), 'set');
        kit::expect(scalar $c->get('large'), undef, 'get');
    }],
    [quiet => sub {
        # In nowait mode whoever ignores the answer does not wait for it.
        my $quiet = $fast ? open_client(nowait => 1) : $c;
        $quiet->set('n', 1);
        $quiet->add('n', 2);
        $quiet->incr('n', 5);
        $quiet->append('n', 0);
        $quiet->delete('none');
        $quiet->set("ahead$_", $_) for 1 .. 300;
        kit::expect(scalar $quiet->get('n'), '60', 'get');
        kit::expect(scalar $quiet->get('ahead300'), '300', 'get of the last');
        $quiet->delete('n');
        kit::expect(scalar $quiet->get('n'), undef, 'get of what was deleted');
    }],
    [flush => sub {
        $c->set('key', 'value');
        kit::yes($c->flush_all, 'flush_all');
        kit::expect(scalar $c->get('key'), undef, 'get');
    }],
    [version => sub {
        my ($version) = values %{ $c->server_versions };
        kit::expect([(split /\./, $version)[0, 1]], ['1', '6'], 'version');
    }],
    [stats => sub {
        my $stats = $c->stats('misc')->{hosts}{"127.0.0.1:$port"}{misc};
        kit::expect([(split /\./, $stats->{version})[0, 1]], ['1', '6'], 'version in stats');
    }],
    [multi_set => sub {
        my $set = $c->set_multi(map { ["set$_", $_] } 1 .. 100);
        kit::expect([grep { !$set->{"set$_"} } 1 .. 100], [], 'set_multi');
        my $deleted = $c->delete_multi('set1', 'none');
        kit::expect([map { $deleted->{$_} ? 1 : 0 } qw(set1 none)], [1, 0], 'delete_multi');
    }],
);

my $no = 'not in its interface';
my %lacks = $fast ? (stats => $no)
    : (cas => $no, touch => $no, gat => $no, version => $no, multi_set => $no);
no strict 'refs';
kit::run($class, ${"${class}::VERSION"}, \@steps, \%lacks, \&in_sync);
