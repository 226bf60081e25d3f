#!/bin/sh
# Puts empty libraries in the place of x264 and x265 in the folder of libraries that PyAV's wheel brought:
# without_gpl_encoders.sh FOLDER. They are encoders of video under the GPL, which nobody here opens, and libavcodec does
# not load without libraries of their names. These have the symbols that it asks for, and each answers "none" (ADR 0028).
set -eu

for name in libx264 libx265; do
    library=$(find "$1" -name "$name-*.so*")
    [ -f "$library" ] || { echo "$1 has no $name, or more than one: see what the wheel brings" >&2 && exit 1; }
    {
        echo 'const char sluice_put_nothing_here = 0;' # scripts/make_sbom.py looks for it
        nm --dynamic --undefined-only "$1"/libavcodec-*.so* \
            | sed -n "s/^ *U \(${name#lib}_[A-Za-z0-9_]*\).*/void *\1(void) { return 0; }/p"
    } | gcc -shared -nostdlib -Os -x c - -Wl,-soname,"$(basename "$library")" -o "$library"
done
