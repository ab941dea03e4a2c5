/// Shared by the build scripts of every package that yields a binary or a test.
///
/// With TOLLGATE_WASMEDGE_PREFIX set (see `.make/setup`), libwasmedge and the libc it was built
/// against live in a private folder: the binary then starts through that folder's own loader.
/// Without it the ordinary search path of the machine is used and nothing is added.
pub fn link_to_prefix() {
    println!("cargo:rerun-if-env-changed=TOLLGATE_WASMEDGE_PREFIX");
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
