# Source this with the clone in $root: it puts a headless Chromium for the tests of pages into .venv/browser, without
# root, and its path into CHROMIUM. It is npm's package @sparticuz/chromium, for 64-bit Intel and AMD. Where CHROMIUM
# names another one already, that one is taken.

package="@sparticuz/chromium@153.0.0"
browser="$root/.venv/browser"
if [ -z "${CHROMIUM:-}" ] && [ "$(cat "$browser/installed" 2>/dev/null)" != "$package" ]; then
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
        for name in chromium al2023.tar; do
            node -e 'process.stdout.write(zlib.brotliDecompressSync(fs.readFileSync(0)))' \
                <"package/bin/$name.br" >"$name" || exit 1
        done && chmod +x chromium && tar -xf al2023.tar && rm -r package al2023.tar ./*.tgz) || {
        echo "$0: could not install $package: $remedy" >&2
        exit 1
    }
    echo "$package" >"$browser/installed"
fi
export CHROMIUM="${CHROMIUM:-$browser/chromium}"
