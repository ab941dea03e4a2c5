/// Shared by the build scripts of every package that yields a binary or a test.
///
/// With TOLLGATE_WASMEDGE_PREFIX set (see `.make/setup`), libwasmedge and the libc it was built
/// against live in a private folder: the binary then starts through that folder's own loader.
/// Without it the ordinary search path of the machine is used.
///
/// In front of either comes `../lib/tollgate` as seen from the program, where `.make/lean` puts the library
/// without its compiler. It need not be there.
pub fn link_to_prefix() {
    println!("cargo:rerun-if-env-changed=TOLLGATE_WASMEDGE_PREFIX");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/tollgate");
    let Ok(prefix) = std::env::var("TOLLGATE_WASMEDGE_PREFIX") else { return };
    for arg in [
        format!("-Wl,--dynamic-linker={prefix}/lib/ld-linux-x86-64.so.2"),
        format!("-Wl,-rpath,{prefix}/lib"),
        "-Wl,--disable-new-dtags".into(),
        "-Wl,--allow-shlib-undefined".into(),
    ] {
        println!("cargo:rustc-link-arg={arg}");
    }
}
