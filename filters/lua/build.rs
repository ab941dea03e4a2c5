//! Compiles PUC Lua 5.4 for Wasm, from the source that the crate `lua-src` carries (pinned in Cargo.lock
//! by version and digest), with errors as checked returns (`native/noeh.h`). Elsewhere than on Wasm there
//! is nothing to do: what is tested natively needs no interpreter.

use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "lua-5.4.9";
/// The core, and of the libraries those that reach nothing outside the sandbox.
const SOURCES: [&str; 28] = [
    "lapi", "lcode", "lctype", "ldebug", "ldo", "ldump", "lfunc", "lgc", "llex", "lmem", "lobject",
    "lopcodes", "lparser", "lstate", "lstring", "ltable", "ltm", "lundump", "lvm", "lzio", "lauxlib",
    "lcorolib", "lmathlib", "lstrlib", "ltablib", "lutf8lib", "noeh", "hook",
];

fn main() {
    println!("cargo::rerun-if-changed=native");
    println!("cargo::rerun-if-env-changed=WASM_CLANG");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("wasm32") {
        return;
    }
    let lua = source_folder();
    let files = SOURCES.iter().map(|name| match *name {
        "noeh" | "hook" => PathBuf::from("native").join(name).with_extension("c"),
        name => lua.join(name).with_extension("c"),
    });
    let mut objects = compiler(&lua).files(files).compile_intermediates();
    // Of the base library only its own functions: what opens files goes.
    let mut base = compiler(&lua);
    base.define("luaL_loadfilex(L,f,m)", "((void)(f),(void)(m),lua_pushstring(L,0),LUA_ERRERR)");
    objects.extend(base.file(lua.join("lbaselib.c")).compile_intermediates());
    // Linked as they are: an archive would need one more tool.
    for object in objects {
        println!("cargo::rustc-link-arg-cdylib={}", object.display());
    }
}

fn compiler(lua: &Path) -> cc::Build {
    let clang = std::env::var("WASM_CLANG").unwrap_or_else(|_| "clang-19".to_owned());
    let mut build = cc::Build::new();
    build
        .compiler(clang)
        .target("wasm32-wasi")
        .opt_level(2)
        .warnings(false)
        .include("native")
        .include(lua)
        .flag("-include")
        .flag("native/noeh.h")
        .flag("-fno-common");
    build
}

/// Where cargo has put the source of `lua-src`.
fn source_folder() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked"];
    let output = Command::new(cargo).args(arguments).output().expect("cargo runs build scripts, so it runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let package = packages.iter().find(|package| package["name"] == "lua-src").expect("a dependency of ours");
    let manifest = package["manifest_path"].as_str().expect("every package has a manifest");
    Path::new(manifest).with_file_name(VERSION)
}
