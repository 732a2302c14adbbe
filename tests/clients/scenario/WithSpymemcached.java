// spymemcached: java -cp spymemcached.jar WithSpymemcached.java PORT text|binary
//
// kit.py says what a scenario prints.
import java.io.Serializable;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.transcoders.SerializingTranscoder;

public class WithSpymemcached {
    static final int PATIENCE = 20;
    static final int WIDE = 500;
    static MemcachedClient c;
    static boolean binary;
    static int fresh;

    interface Step {
        void run() throws Exception;
    }

    interface Call {
        Object get() throws Exception;
    }

    static String show(Object value) {
        String text = value instanceof byte[] ? Arrays.toString((byte[]) value) : "" + value;
        return text.length() > 80 ? text.substring(0, 80) : text;
    }

    static void expect(Object got, Object wanted, String what) {
        if (!Objects.deepEquals(got, wanted)) {
            throw new AssertionError(what + ": got " + show(got) + ", not " + show(wanted));
        }
    }

    static void expectSoon(Call call, Object wanted, String what) throws Exception {
        long end = System.nanoTime() + PATIENCE * 1000000000L;
        while (!Objects.deepEquals(call.get(), wanted)) {
            if (System.nanoTime() > end) {
                throw new AssertionError(what + ": not within " + PATIENCE + " seconds");
            }
            Thread.sleep(50);
        }
    }

    static void expectError(Call call, String what) {
        Object got;
        try {
            got = call.get();
        } catch (Exception error) {
            return;
        }
        throw new AssertionError(what + ": no error, but " + show(got));
    }

    static <T> T wait(Future<T> future) throws Exception {
        return future.get(PATIENCE, TimeUnit.SECONDS);
    }

    static byte[] noise(int size) {
        byte[] bytes = new byte[size];
        new Random(1).nextBytes(bytes);
        return bytes;
    }

    static byte[] allBytes() {
        byte[] bytes = new byte[256 + 9];
        for (int i = 0; i < 256; i++) {
            bytes[i] = (byte) i;
        }
        System.arraycopy("\r\nEND\r\nx\r".getBytes(), 0, bytes, 256, 9);
        return bytes;
    }

    static void setGet() throws Exception {
        expect(wait(c.set("key", 0, "value")), true, "set");
        expect(c.get("key"), "value", "get");
        expect(wait(c.set("key", 0, "")), true, "set of nothing");
        expect(c.get("key"), "", "get of nothing");
    }

    static void missing() throws Exception {
        expect(c.get("none"), null, "get");
        expect(c.gets("none"), null, "gets");
    }

    static void multiGet() throws Exception {
        Map<String, Object> values = new HashMap<>();
        for (String key : List.of("m1", "m2", "m3")) {
            values.put(key, key + "\r\nEND\r\n");
            wait(c.set(key, 0, values.get(key)));
        }
        expect(c.getBulk("m1", "none", "m2", "m3"), values, "getBulk");
        expect(c.getBulk("none", "nor"), Map.of(), "getBulk of nothing");
    }

    static void wideMultiGet() throws Exception {
        Map<String, Object> values = new HashMap<>();
        List<Future<Boolean>> stored = new ArrayList<>();
        for (int i = 0; i < WIDE; i++) {
            values.put("wide" + i, ("" + i).repeat(i % 50));
            stored.add(c.set("wide" + i, 0, values.get("wide" + i)));
        }
        for (Future<Boolean> future : stored) {
            expect(wait(future), true, "set");
        }
        List<String> keys = new ArrayList<>(values.keySet());
        for (int i = 0; i < WIDE; i += 5) {
            expect(wait(c.delete("wide" + i)), true, "delete");
            values.remove("wide" + i);
        }
        expect(c.getBulk(keys), values, "getBulk");
    }

    static void delete() throws Exception {
        wait(c.set("key", 0, "value"));
        expect(wait(c.delete("key")), true, "delete");
        expect(wait(c.delete("key")), false, "delete again");
        expect(c.get("key"), null, "get");
    }

    static void addReplace() throws Exception {
        wait(c.delete("key"));
        expect(wait(c.replace("key", 0, "1")), false, "replace of nothing");
        expect(wait(c.add("key", 0, "2")), true, "add");
        expect(wait(c.add("key", 0, "3")), false, "add again");
        expect(c.get("key"), "2", "get after add");
        expect(wait(c.replace("key", 0, "4")), true, "replace");
        expect(c.get("key"), "4", "get after replace");
    }

    static void appendPrepend() throws Exception {
        wait(c.delete("key"));
        expect(wait(c.append("key", "1")), false, "append to nothing");
        expect(wait(c.prepend("key", "1")), false, "prepend to nothing");
        wait(c.set("key", 0, "middle"));
        expect(wait(c.append("key", " end\r\n")), true, "append");
        expect(wait(c.prepend("key", "start ")), true, "prepend");
        expect(c.get("key"), "start middle end\r\n", "get");
    }

    static void cas() throws Exception {
        wait(c.set("key", 0, "1"));
        CASValue<Object> seen = c.gets("key");
        expect(seen.getValue(), "1", "gets");
        expect(c.cas("key", seen.getCas(), "2"), CASResponse.OK, "cas");
        expect(c.cas("key", seen.getCas(), "3"), CASResponse.EXISTS, "cas again");
        expect(c.get("key"), "2", "get");
        wait(c.delete("key"));
        expect(c.cas("key", seen.getCas(), "4"), CASResponse.NOT_FOUND, "cas of nothing");
    }

    static void incrDecr() throws Exception {
        wait(c.delete("n"));
        expect(c.incr("n", 1), -1L, "incr of nothing");
        expect(c.incr("n", 1, 10L, 1000), 10L, "incr with a default");
        expect(c.incr("n", 5), 15L, "incr");
        expect(c.decr("n", 6), 9L, "decr");
        expect(((String) c.get("n")).strip(), "9", "get of the number");
        expect(c.decr("n", 100), 0L, "decr below nothing");
    }

    static void touch() throws Exception {
        expect(wait(c.touch("none", 10)), false, "touch of nothing");
        wait(c.set("key", 0, "value"));
        expect(wait(c.touch("key", 1000)), true, "touch");
        expect(c.get("key"), "value", "get");
        expect(wait(c.touch("key", 1)), true, "touch");
        expectSoon(() -> c.get("key"), null, "touched for one second");
    }

    static void gat() throws Exception {
        expect(c.getAndTouch("none", 10), null, "gat of nothing");
        wait(c.set("key", 0, "value"));
        expect(c.getAndTouch("key", 1).getValue(), "value", "gat");
        expectSoon(() -> c.get("key"), null, "touched for one second");
    }

    static void expiry() throws Exception {
        wait(c.set("stays", 1000, "1"));
        wait(c.set("goes", 1, "2"));
        expectSoon(() -> c.get("goes"), null, "set for one second");
        expect(c.get("stays"), "1", "set for 1000 seconds");
    }

    static void types() throws Exception {
        Map<String, Object> values = new HashMap<>();
        values.put("text", "\u00e4\u20ac");
        values.put("int", -7);
        values.put("long", 1L << 40);
        values.put("double", 1.5);
        values.put("boolean", true);
        values.put("byte", (byte) -1);
        values.put("list", (Serializable) new ArrayList<>(Arrays.asList(1, null, "x")));
        values.put("compressed", "long ".repeat(10000));
        for (Map.Entry<String, Object> entry : values.entrySet()) {
            wait(c.set(entry.getKey(), 0, entry.getValue()));
            expect(c.get(entry.getKey()), entry.getValue(), "get of " + entry.getKey());
        }
        expect(c.getBulk(values.keySet()), values, "getBulk");
    }

    static void binarySafe() throws Exception {
        wait(c.set("bytes", 0, allBytes()));
        expect(c.get("bytes"), allBytes(), "get");
    }

    static void largeValue() throws Exception {
        byte[] large = noise((1 << 20) - 1024);
        expect(wait(c.set("large", 0, large)), true, "set");
        expect(c.get("large"), large, "get");
    }

    static void tooLarge() throws Exception {
        wait(c.set("large", 0, "small"));
        Future<Boolean> stored = c.set("large", 0, noise(2 << 20));
        boolean refused;
        try {
            refused = !wait(stored);    // binary: a status
        } catch (java.util.concurrent.ExecutionException error) {
            refused = true;             // text: SERVER_ERROR, and it connects anew
        }
        expect(refused, true, "set is refused");
        expectSoon(() -> {
            try {
                return "" + c.get("large");
            } catch (RuntimeException notConnected) {
                return notConnected.getMessage();
            }
        }, "null", "get");
    }

    // Nothing is asked of what is sent: answers are read when they come.
    static void quiet() throws Exception {
        for (int i = 0; i < 1000; i++) {
            c.set("ahead" + i, 0, "" + i);
        }
        c.set("n", 0, "1");
        c.asyncIncr("n", 5);
        c.append("n", "0");
        c.delete("none");
        expect(c.get("n"), "60", "get");
        expect(c.get("ahead999"), "999", "get of the last");
    }

    static void flush() throws Exception {
        wait(c.set("key", 0, "value"));
        expect(wait(c.flush()), true, "flush");
        expect(c.get("key"), null, "get");
    }

    static void version() {
        String version = c.getVersions().values().iterator().next();
        expect(version.startsWith("1.6."), true, "version " + version);
    }

    static void stats() {
        String version = c.getStats().values().iterator().next().get("version");
        expect(version.startsWith("1.6."), true, "version " + version + " in stats");
        Map<String, String> settings = c.getStats("settings").values().iterator().next();
        expect(settings.get("item_size_max"), "1048576", "item_size_max in stats settings");
    }

    static void inSync() throws Exception {
        String value = "sync " + fresh++;
        expect(wait(c.set("sync", 0, value)), true, "set after the step");
        expect(c.get("sync"), value, "get after the step");
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        Logger.getLogger("net.spy.memcached").setLevel(Level.OFF);
        binary = args[1].equals("binary");
        // Its own limit, 20 MB, lets through what the server must refuse.
        SerializingTranscoder transcoder = new SerializingTranscoder(64 << 20);
        c = new MemcachedClient(new ConnectionFactoryBuilder()
                .setProtocol(binary ? Protocol.BINARY : Protocol.TEXT)
                .setTranscoder(transcoder)
                .setOpTimeout(PATIENCE * 1000)
                .build(), List.of(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]))));
        System.out.println("client spymemcached -");
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("set_get", WithSpymemcached::setGet);
        steps.put("missing", WithSpymemcached::missing);
        steps.put("multi_get", WithSpymemcached::multiGet);
        steps.put("wide_multi_get", WithSpymemcached::wideMultiGet);
        steps.put("delete", WithSpymemcached::delete);
        steps.put("add_replace", WithSpymemcached::addReplace);
        steps.put("append_prepend", WithSpymemcached::appendPrepend);
        steps.put("cas", WithSpymemcached::cas);
        steps.put("incr_decr", WithSpymemcached::incrDecr);
        steps.put("touch", WithSpymemcached::touch);
        if (binary) {
            steps.put("gat", WithSpymemcached::gat);
        } else {
            System.out.println("- gat it refuses that in the text protocol");
        }
        steps.put("expiry", WithSpymemcached::expiry);
        steps.put("types", WithSpymemcached::types);
        steps.put("binary_safe", WithSpymemcached::binarySafe);
        steps.put("large_value", WithSpymemcached::largeValue);
        steps.put("too_large", WithSpymemcached::tooLarge);
        steps.put("quiet", WithSpymemcached::quiet);
        steps.put("flush", WithSpymemcached::flush);
        steps.put("version", WithSpymemcached::version);
        steps.put("stats", WithSpymemcached::stats);
        for (Map.Entry<String, Step> step : steps.entrySet()) {
            try {
                step.getValue().run();
                inSync();
                System.out.println("ok " + step.getKey());
            } catch (Throwable error) {
                System.out.println("not ok " + step.getKey() + " "
                        + error.toString().replaceAll("[^ -~]+", " "));
            }
        }
        System.out.println("end");
        System.out.flush();
        System.exit(0);
    }
}
