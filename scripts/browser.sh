# Source this with the clone in $root: it puts a headless Chromium for the tests of pages into .venv/browser, without
# root, and its path into CHROMIUM. It is npm's package @sparticuz/chromium, for 64-bit Intel and AMD, with libraries and
# with fonts, as a machine may have none. Where CHROMIUM names another one already, that one is taken.

package="@sparticuz/chromium@153.0.0"
parts="$package, its libraries and fonts" # what an install has: another text, and it is made anew
browser="$root/.venv/browser"
fonts='<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'
if [ -z "${CHROMIUM:-}" ] && [ "$(cat "$browser/installed" 2>/dev/null)" != "$parts" ]; then
    remedy="install a Chromium (Debian: apt-get install chromium) and name it with CHROMIUM=/usr/bin/chromium"
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || {
        echo "$0: the tests of pages need a Chromium, and npm has none for $(uname -s) $(uname -m): $remedy" >&2
        exit 1
    }
    command -v npm >/dev/null || {
        echo "$0: the tests of pages need a Chromium, which npm brings: install npm, or $remedy" >&2
        exit 1
    }
    echo "Installing $package into $browser: 0.2 GB."
    rm -rf "$browser" && mkdir -p "$browser" &&
        (cd "$browser" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz &&
        for name in chromium al2023.tar fonts.tar; do
            node -e 'process.stdout.write(zlib.brotliDecompressSync(fs.readFileSync(0)))' \
                <"package/bin/$name.br" >"$name" || exit 1
        done && chmod +x chromium && tar -xf al2023.tar && tar -xf fonts.tar fonts &&
        rm -r package al2023.tar fonts.tar ./*.tgz &&
        echo "$fonts" >fonts.conf) || {
        echo "$0: could not install $package: $remedy" >&2
        exit 1
    }
    echo "$parts" >"$browser/installed"
fi
export CHROMIUM="${CHROMIUM:-$browser/chromium}"
