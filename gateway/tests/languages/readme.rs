//! The examples of `filters/README.md`: each is written to a folder of its own, built by the very
//! command that stands above it, and run in the gateway by the policy that stands there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Gateway, Options, Origin, guest, response};
use crate::toolchain::{self, Language};

const README: &str = include_str!("../../../filters/README.md");

/// Builds the example under this heading and runs it.
pub(crate) fn works(language: Language, heading: &str) {
    if toolchain::is_left_out(language) {
        return;
    }
    let module = guest::compile_at(build(language, section(heading)), language.level());
    let origin = Origin::answering(response(200, &[], b"ok"));
    let filters = block(section("One of your own"), "yaml").expect("a policy");
    // Go's runtime takes longer than the default allows; the text says so.
    let filters =
        filters.replace("hello.wasm, ", &format!("{}, budget: 1s, start_budget: 5s, ", module.display()));
    let policy = format!(
        "{filters}upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         routes: [{{ filters: [hello], forward: {{ upstream: u }} }}]\n",
        origin.address()
    );
    let gateway = Gateway::start_with(&policy, &Options { workers: 1, log: "info" });
    assert_eq!(gateway.get("/").header("x-hello"), Some("from wasm"));
    gateway.stop();
}

/// The text from a heading to the next one.
fn section(heading: &str) -> &'static str {
    let (_, text) = README.split_once(&format!("# {heading}\n")).expect("the heading");
    let ends = ["\n## ", "\n### "].into_iter().filter_map(|next| text.find(next));
    &text[..ends.min().unwrap_or(text.len())]
}

/// The first block of code in a language.
fn block(section: &'static str, language: &str) -> Option<&'static str> {
    let (_, text) = section.split_once(&format!("\n```{language}\n"))?;
    Some(text.split_once("```").expect("the block's end").0)
}

/// The line that is nothing but code.
fn command(section: &'static str) -> &'static str {
    let code =
        |line: &'static str| line.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'));
    section.lines().find_map(code).expect("a command")
}

fn build(language: Language, section: &'static str) -> PathBuf {
    let folder = toolchain::folder("readme", language);
    for (name, block_of) in [
        ("hello.c", "c"),
        ("hello.cc", "c++"),
        ("hello.go", "go"),
        ("hello.ts", "ts"),
        ("hello.rs", "rust"),
        ("Cargo.toml", "toml"),
    ] {
        if let Some(text) = block(section, block_of) {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let module = folder.join("hello.wasm");
    let _ = fs::remove_file(&module);
    let mut line = command(section).to_owned();
    let mut shell = Command::new("sh");
    match language {
        Language::C | Language::Cpp => {
            fs::copy(toolchain::sources("c").join("proxy_wasm.h"), folder.join("proxy_wasm.h")).unwrap();
            let clang = toolchain::clang();
            line =
                line.replace("clang++-19", &clang.replace("clang-", "clang++-")).replace("clang-19", &clang);
        }
        Language::Go => {
            toolchain::set_go_variables(&mut shell, &folder);
            line = line.replace("go build", &format!("'{}' build", toolchain::go().display()));
        }
        Language::AssemblyScript => link(&toolchain::assemblyscript_packages(), &folder),
        Language::Rust025 | Language::Rust020 | Language::Rust014 => {
            pin(&folder);
            line = format!("{line} --target-dir target && cp target/wasm32-wasip1/release/hello.wasm .");
            line = line.replace("cargo ", &format!("'{}' ", env!("CARGO")));
        }
    }
    toolchain::run(shell.arg("-c").arg(&line).current_dir(&folder));
    module
}

fn link(packages: &Path, folder: &Path) {
    let link = folder.join("node_modules");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(packages, link).unwrap();
}

/// The versions that the guest on the same SDK has; and no part of our own workspace.
fn pin(folder: &Path) {
    let lock = fs::read_to_string(toolchain::sources("rust/sdk-0.2.5").join("Cargo.lock")).unwrap();
    fs::write(folder.join("Cargo.lock"), lock.replace("name = \"guest\"", "name = \"hello\"")).unwrap();
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest + "\n[workspace]\n").unwrap();
}
