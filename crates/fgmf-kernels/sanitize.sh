#!/bin/sh
# Memory checks of the unsafe code in this crate: its unit tests under three checkers, each skipped with a note if it is not installed.
# Run it after touching unsafe code; CI does not.
#
#   AddressSanitizer (nightly toolchain)      every instruction set of this processor; steps outside an allocation
#   valgrind memcheck                         up to AVX2 (its processor has no AVX-512), and portable; also reads of memory never written
#   Miri (nightly toolchain, component miri)  portable only; the language's own rules. Tests of the blocked convolution, minutes each
#
# Usage: crates/fgmf-kernels/sanitize.sh [test filter]. PROPTEST_CASES sets the number of random cases (8 unless told).
set -eu
cd "$(dirname "$0")/../.."
export PROPTEST_CASES="${PROPTEST_CASES:-8}"
filter="${1:-}"
host=$(rustc -vV | sed -n 's/^host: //p')

if cargo +nightly --version >/dev/null 2>&1; then
    echo "AddressSanitizer"
    RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan \
        cargo +nightly test --locked -p fgmf-kernels --lib --target "$host" -- "$filter"
else
    echo "AddressSanitizer: no nightly toolchain"
fi

if command -v valgrind >/dev/null; then
    runner="CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUNNER"
    for isa in avx2 portable; do
        echo "valgrind, $isa"
        # Tests that multiply a hundred million numbers are left out.
        env FGMF_ISA=$isa "$runner=valgrind -q --error-exitcode=1" CARGO_TARGET_DIR=target/valgrind \
            cargo test --release --locked -p fgmf-kernels --lib -- --test-threads=1 --skip winograd_error --skip large_images "$filter"
    done
else
    echo "valgrind: not installed"
fi

if cargo +nightly miri --version >/dev/null 2>&1; then
    echo "Miri"
    FGMF_ISA=portable MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=target/miri \
        cargo +nightly miri test --locked -p fgmf-kernels --lib -- "${filter:-blocked::tests}"
else
    echo "Miri: not installed"
fi
