# Dalli: with_dalli.rb PORT
#
# kit.py says what a scenario prints.
NOT_INSTALLED = 77
begin
  require 'dalli'
rescue LoadError => e
  warn e.message
  exit NOT_INSTALLED
end

PATIENCE = 20
TINY = "\0\1\xff\r\nEND\r\nVALUE x 0 1\r\n".b
ALL_BYTES = (0..255).to_a.pack('C*') + TINY
NOISE = Random.new(1)
LARGE = NOISE.bytes((1 << 20) - 1024)
TOO_LARGE = NOISE.bytes(2 << 20)
WIDE = 500

class Wrong < StandardError; end

def expect(got, wanted, what)
  return if got == wanted && got.class == wanted.class

  raise Wrong, "#{what}: got #{got.inspect[0, 80]}, not #{wanted.inspect[0, 80]}"
end

def yes(got, what)
  raise Wrong, "#{what}: got #{got.inspect}, not true" unless got
end

def no(got, what)
  raise Wrong, "#{what}: got #{got.inspect[0, 80]}, not false" if got
end

def expect_soon(wanted, what)
  finish = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE
  until yield == wanted
    raise Wrong, "#{what}: not within #{PATIENCE} s" if
      Process.clock_gettime(Process::CLOCK_MONOTONIC) > finish

    sleep 0.05
  end
end

def expect_error(kind, what)
  yield
rescue kind
  nil
else
  raise Wrong, "#{what}: no error"
end

Dalli.logger.level = Logger::FATAL

# The steps, in this order.
class Steps
  def initialize(port)
    @client = Dalli::Client.new("127.0.0.1:#{port}", socket_timeout: PATIENCE,
                                value_max_bytes: 64 << 20)
    @fresh = 0
  end

  # Bytes as they are; get then answers bytes as well.
  def set(key, value, ttl = nil)
    @client.set(key, value, ttl, raw: true)
  end

  def in_sync
    value = "sync #{@fresh += 1}"
    yes set('sync', value), 'set after the step'
    expect @client.get('sync'), value, 'get after the step'
  end

  def set_get
    yes set('key', 'value'), 'set'
    expect @client.get('key'), 'value', 'get'
    yes set('key', ''), 'set of nothing'
    expect @client.get('key'), '', 'get of nothing'
  end

  def missing
    expect @client.get('none'), nil, 'get'
    expect @client.get_cas('none'), [nil, 0], 'get_cas'
  end

  def multi_get
    values = { 'm1' => '1', 'm2' => TINY, 'm3' => '3' }
    values.each { |k, v| set(k, v) }
    expect @client.get_multi('m1', 'none', 'm2', 'm3'), values, 'get_multi'
    expect @client.get_multi('none', 'nor'), {}, 'get_multi of nothing'
    found = @client.get_multi_cas('m1', 'none', 'm3')
    expect found.transform_values(&:first), { 'm1' => '1', 'm3' => '3' }, 'get_multi_cas'
    expect found['m1'][1], @client.get_cas('m1')[1], 'cas number of get_multi_cas'
  end

  def wide_multi_get
    values = (0...WIDE).to_h { |i| ["wide#{i}", i.to_s * (i % 50)] }
    @client.multi { values.each { |k, v| set(k, v) } }
    (0...WIDE).step(5) { |i| @client.delete("wide#{i}") }
    left = values.reject { |k, _| (k.delete_prefix('wide').to_i % 5).zero? }
    expect @client.get_multi(*values.keys), left, 'get_multi'
  end

  def delete
    set('key', 'value')
    yes @client.delete('key'), 'delete'
    no @client.delete('key'), 'delete again'
    expect @client.get('key'), nil, 'get'
    set('key', 'value')
    seen = @client.get_cas('key')[1]
    no @client.delete_cas('key', seen + 1), 'delete_cas of another version'
    yes @client.delete_cas('key', seen), 'delete_cas'
  end

  def add_replace
    @client.delete('key')
    expect @client.replace('key', '1', nil, raw: true), 0, 'replace of nothing'
    yes @client.add('key', '2', nil, raw: true), 'add'
    no @client.add('key', '3', nil, raw: true), 'add again'
    expect @client.get('key'), '2', 'get after add'
    yes @client.replace('key', '4', nil, raw: true), 'replace'
    expect @client.get('key'), '4', 'get after replace'
  end

  def append_prepend
    @client.delete('key')
    no @client.append('key', '1'), 'append to nothing'
    no @client.prepend('key', '1'), 'prepend to nothing'
    set('key', 'middle')
    yes @client.append('key', " end\r\n"), 'append'
    yes @client.prepend('key', 'start '), 'prepend'
    expect @client.get('key'), "start middle end\r\n", 'get'
  end

  def cas
    set('key', '1')
    value, seen = @client.get_cas('key')
    expect value, '1', 'get_cas'
    newer = @client.set_cas('key', '2', seen, nil, raw: true)
    yes newer, 'set_cas'
    expect @client.get_cas('key'), ['2', newer], 'the number that set_cas has answered'
    no @client.set_cas('key', '3', seen, nil, raw: true), 'set_cas again'
    no @client.replace_cas('key', '3', seen, nil, raw: true), 'replace_cas too late'
    yes @client.cas('key', nil, raw: true) { |v| "#{v}4" }, 'cas with a block'
    expect @client.get('key'), '24', 'get'
    @client.delete('key')
    expect @client.cas('key') { 'x' }, nil, 'cas of nothing'
  end

  def incr_decr
    @client.delete('n')
    expect @client.incr('n', 1), nil, 'incr of nothing'
    expect @client.incr('n', 1, 100, 10), 10, 'incr with a default'
    expect @client.incr('n', 5), 15, 'incr'
    expect @client.decr('n', 6), 9, 'decr'
    expect @client.decr('n', 100), 0, 'decr below nothing'
    expect @client.get('n').strip, '0', 'get of the number'
    set('n', 'text')
    expect_error(Dalli::DalliError, 'incr of a text') { @client.incr('n', 1) }
  end

  def touch
    no @client.touch('none', 10), 'touch of nothing'
    set('key', 'value')
    yes @client.touch('key', 1000), 'touch'
    expect @client.get('key'), 'value', 'get'
    yes @client.touch('key', 1), 'touch'
    expect_soon(nil, 'touched for one second') { @client.get('key') }
  end

  def gat
    expect @client.gat('none', 10), nil, 'gat of nothing'
    set('key', 'value')
    expect @client.gat('key', 1), 'value', 'gat'
    expect_soon(nil, 'touched for one second') { @client.get('key') }
  end

  def expiry
    set('stays', '1', 1000)
    set('goes', '2', 1)
    expect_soon(nil, 'set for one second') { @client.get('goes') }
    expect @client.get('stays'), '1', 'set for 1000 seconds'
  end

  def types
    values = { 'text' => 'äß', 'number' => 7, 'list' => [1, { a: nil }], 'true' => true,
               'long' => 'long ' * 2000 }
    values.each { |k, v| @client.set(k, v) }
    values.each { |k, v| expect @client.get(k), v, "get of #{k}" }
    expect @client.get_multi(*values.keys), values, 'get_multi'
  end

  def binary_safe
    set('bytes', ALL_BYTES)
    expect @client.get('bytes').b, ALL_BYTES, 'get'
  end

  def large_value
    yes set('large', LARGE), 'set'
    expect @client.get('large').b == LARGE, true, 'get is what was set'
  end

  def too_large
    set('large', 'small')
    expect_error(Dalli::DalliError, 'set') { set('large', TOO_LARGE) }
    expect @client.get('large'), nil, 'get'
  end

  def quiet
    @client.delete('gone')
    @client.multi do # these four are sent with a quiet opcode, whatever fails among them
      set('n', '1')
      @client.add('n', '2', nil, raw: true)
      @client.replace('gone', '3', nil, raw: true)
      @client.delete('gone')
    end
    expect @client.get('n'), '1', 'get'
    @client.multi { @client.delete('n') }
    expect @client.get('n'), nil, 'get of what was deleted'
  end

  def flush
    set('key', 'value')
    yes @client.flush.all?, 'flush'
    expect @client.get('key'), nil, 'get'
  end

  def version
    expect @client.version.values.first.split('.')[0, 2], %w[1 6], 'version'
  end

  def stats
    expect @client.stats.values.first['version'].split('.')[0, 2], %w[1 6], 'version in stats'
  end
end

$stdout.sync = true
puts "client Dalli #{Dalli::VERSION}"
steps = Steps.new(ARGV[0].to_i)
names = Steps.public_instance_methods(false) - %i[set in_sync]
names.sort_by { |name| Steps.instance_method(name).source_location[1] }.each do |step|
  steps.public_send(step)
  steps.in_sync
  puts "ok #{step}"
rescue StandardError => e
  puts "not ok #{step} #{e.class}: #{e.message.gsub(/[^ -~]+/, ' ')}"
end
puts 'end'
