//! How the library is linked.

/// pgrx writes what it knows about SQL objects into a section that nothing refers to, and a linker would drop it.
/// cargo-pgrx keeps it by flags for everything that it builds, which is then built once more for all else; this is
/// for the library alone (tools/build.sh switches the other off).
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target != "macos" {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--no-gc-sections");
    }
}
