"""liblarder as it is installed: the header alone, the names it exports, a program built with it.

Goal: whoever has the package can compile and link as pkg-config says, statically and dynamically,
in C and in C++, and finds in the libraries what the header names and nothing else.
Method: `make install` into a directory of the test, then the compiler of this build.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import server

ROOT = server.ROOT
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build/release"))
CC = "clang" if BUILD.name.startswith("clang-") else "gcc"
CXX = "clang++" if CC == "clang" else "g++"
SANITIZE = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"],
            "msan": ["-fsanitize=memory"]}.get(BUILD.name.split("-")[-1], [])
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
HEADER = ROOT / "include/larder.h"


def run(*command, **how):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=server.PATIENCE * 5, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The directory that holds opt/larder/."""
    where = tmp_path_factory.mktemp("installed")
    run("make", "-s", "install", f"DESTDIR={where}", "PREFIX=/opt/larder", cwd=ROOT)
    return where


def pkg_config(installed, *options):
    env = dict(os.environ, PKG_CONFIG_LIBDIR=str(installed / "opt/larder/lib/pkgconfig"),
               PKG_CONFIG_SYSROOT_DIR=str(installed))
    return run("pkg-config", *options, "liblarder", env=env).split()


def declared():
    """The functions that the header offers."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"LARDER_API\b[^;]*?\b(larder_\w+)\s*\(", text))


def exported(path, *options):
    lines = run("nm", "--defined-only", *options, path).splitlines()
    names = {line.split()[2] for line in lines if len(line.split()) == 3}
    return {name for name in names if not re.match(r"_*(asan|tsan|msan|ubsan|odr)", name)}


# ---- the header -----------------------------------------------------------------------------

@pytest.mark.parametrize("standard", ["c11", "c17"])
def test_header_compiles_alone_as_c(tmp_path, standard):
    source = tmp_path / "alone.c"
    source.write_text("#include <larder.h>\nint larder_is_alone;\n")
    run(CC, f"-std={standard}", *STRICT, f"-I{HEADER.parent}", "-c", "-o", os.devnull, source)


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_header_compiles_alone_as_cpp_and_links(tmp_path, standard):
    if not shutil.which(CXX):
        pytest.skip(f"there is no {CXX}")
    source = tmp_path / "alone.cpp"
    source.write_text("#include <larder.h>\n"
                      "#include <cstring>\n"
                      "int main() {\n"
                      "    larder_config config = {};\n"
                      "    larder *cache;\n"
                      "    larder_thread *me;\n"
                      "    char text[8] = {};\n"
                      "    config.size = sizeof config;\n"
                      "    if (larder_create(&config, &cache) || larder_join(cache, &me) ||\n"
                      "        larder_set(me, larder_text(\"k\"), larder_text(\"v\"), 0) ||\n"
                      "        larder_get(me, larder_text(\"k\"), text, sizeof text, nullptr))\n"
                      "        return 1;\n"
                      "    larder_part(me);\n"
                      "    larder_destroy(cache);\n"
                      "    return std::strcmp(text, \"v\");\n"
                      "}\n")
    program = tmp_path / "alone"
    run(CXX, f"-std={standard}", *STRICT, *SANITIZE, f"-I{HEADER.parent}", "-o", program, source,
        BUILD / "liblarder.a", "-pthread")
    run(program)


# ---- the libraries --------------------------------------------------------------------------

def test_libraries_export_what_the_header_names():
    assert len(declared()) > 30
    assert exported(BUILD / "liblarder.so.0", "-D") == declared()
    if not SANITIZE:  # the sanitizers' own names come and go
        assert exported(BUILD / "liblarder.a", "-g") == declared()


def test_versions_agree(installed):
    version = re.search(r'#define LARDER_VERSION "(.*)"', HEADER.read_text()).group(1)
    base = re.search(r'#define LARDER_VERSION "(.*)"',
                     (ROOT / "src/base/version.h").read_text()).group(1)
    assert version == base == pkg_config(installed, "--modversion")[0]
    assert run(BUILD / "larder-sim", "--version") == f"larder-sim {version}\n"


def test_everything_is_installed(installed):
    opt = installed / "opt/larder"
    for name in ("bin/larderd", "bin/larder-sim", "include/larder.h", "lib/liblarder.a",
                 "lib/liblarder.so", "lib/liblarder.so.0", "lib/pkgconfig/liblarder.pc",
                 "share/man/man1/larderd.1", "share/man/man1/larder-sim.1"):
        assert (opt / name).exists(), name
    assert (opt / "include/larder.h").read_text() == HEADER.read_text()
    assert str(installed) not in (opt / "lib/pkgconfig/liblarder.pc").read_text()


@pytest.mark.parametrize("kind", ["shared", "static"])
def test_example_is_built_with_what_is_installed(installed, tmp_path, kind):
    libs = installed / "opt/larder/lib"
    flags = pkg_config(installed, "--cflags", "--libs", *(["--static"] * (kind == "static")))
    if kind == "static":
        flags = [str(libs / "liblarder.a") if flag == "-llarder" else flag for flag in flags]
    program = tmp_path / "embed"
    run(CC, *STRICT, *SANITIZE, "-o", program, ROOT / "examples/embed.c", *flags, "-pthread")
    needs = "liblarder.so.0" in run("readelf", "-d", program)
    assert needs == (kind == "shared")
    said = run(program, env=dict(os.environ, LD_LIBRARY_PATH=str(libs)))
    assert "400 thousand look-ups\n" in said
    check_example(said)


# ---- the example ----------------------------------------------------------------------------

def check_example(said):
    """Each answer is made once, or at most a few times where threads want it at the same time."""
    m = re.search(r"(\d+) look-ups, (\d+) answers made, (\d+) in the cache, (\d+) KiB", said)
    look_ups, made, kept, kib = (int(n) for n in m.groups())
    assert look_ups == 400000
    assert 15000 < kept - 1 <= made < kept + 400
    assert kib <= 16 * 1024


def test_example_of_this_build():
    check_example(run(BUILD / "examples/embed"))
