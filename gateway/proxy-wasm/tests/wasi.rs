//! WASI, called by a guest: what works, and that everything resolves with the standard's types.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use support::module::{guest, wat};
use support::{Env, guarded, plugin_spec, start};
use tollgate_proxy_wasm::{Failure, LogLevel, Vm};
use tollgate_wasmedge::{Module, Trap};

/// The functions of WASI preview 1 and the types of their parameters (`I` is i64).
const PREVIEW_1: [(&str, &str); 46] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

fn import(module: &str, name: &str, params: &str) -> String {
    let types: String = params.chars().map(|c| if c == 'I' { " i64" } else { " i32" }).collect();
    let result = if name == "proc_exit" { "" } else { "(result i32)" };
    format!("(import \"{module}\" \"{name}\" (func ${name}_{module} (param{types}) {result}))\n")
}

#[test]
fn every_name_resolves_under_both_modules() {
    let imports: String = ["wasi_snapshot_preview1", "wasi_unstable"]
        .iter()
        .flat_map(|module| PREVIEW_1.iter().map(|(name, params)| import(module, name, params)))
        .chain([
            "(import \"env\" \"pthread_equal\" (func (param i32 i32) (result i32)))".to_owned(),
            "(import \"env\" \"emscripten_notify_memory_growth\" (func (param i32)))".to_owned(),
        ])
        .collect();
    let module = wat(&guest(&imports, ""));
    guarded(|| assert!(start(&module).0.failed().is_none()));
}

/// A guest whose tick makes one call and logs the errno and 32 bytes from address 64.
fn caller(name: &str, args: &str, data: &str) -> Module {
    let (_, params) = PREVIEW_1.iter().find(|(known, _)| *known == name).unwrap();
    let wasi = "wasi_snapshot_preview1";
    let imports = format!(
        r#"{} (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#,
        import(wasi, name, params)
    );
    let call = format!("(call ${name}_{wasi} {args})");
    let body = if name == "proc_exit" { call } else { format!("(i32.store8 (i32.const 63) {call})") };
    wat(&guest(
        &imports,
        &format!(
            r#"{data} (func (export "proxy_on_tick") (param i32) {body}
            (drop (call $log (i32.const 3) (i32.const 63) (i32.const 33))))"#
        ),
    ))
}

fn tick(module: &Module) -> (Vm<Env>, std::rc::Rc<Env>, Result<(), Failure>) {
    let (vm, env) = start(module);
    let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
    let result = vm.on_tick(plugin);
    (vm, env, result)
}

/// The errno and the 32 bytes.
fn answer(module: &Module) -> (u8, Vec<u8>) {
    let (_vm, env, result) = tick(module);
    result.unwrap();
    let line = env.lines.borrow_mut().pop().unwrap().message;
    (line[0], line[1..].to_vec())
}

fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap())).collect()
}

#[test]
fn arguments_and_environment() {
    let args =
        caller("args_sizes_get", "(i32.const 64) (i32.const 68)", "(data (i32.const 64) \"\\ff\\ff\")");
    let sizes = caller("environ_sizes_get", "(i32.const 64) (i32.const 68)", "");
    let environ = caller("environ_get", "(i32.const 64) (i32.const 72)", "");
    let fault = caller("environ_get", "(i32.const 64) (i32.const -4)", "");
    guarded(|| {
        assert_eq!(u32s(&answer(&args).1)[..2], [0, 0]);
        assert_eq!(u32s(&answer(&sizes).1)[..2], [2, 19]);
        let (errno, bytes) = answer(&environ);
        assert_eq!((errno, u32s(&bytes)[..2].to_vec()), (0, vec![72, 84]));
        assert_eq!(&bytes[8..27], b"COLOUR=blue\0EMPTY=\0");
        assert_eq!(answer(&fault).0, 21);
    });
}

#[test]
fn clocks() {
    let args = |clock: u32| format!("(i32.const {clock}) (i64.const 1) (i32.const 64)");
    let realtime = caller("clock_time_get", &args(0), "");
    let monotonic = caller("clock_time_get", &args(1), "");
    let process = caller("clock_time_get", &args(2), "");
    let poll = caller(
        "poll_oneoff",
        "(i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)",
        "(data (i32.const 64) \"\\07\")",
    );
    guarded(|| {
        let time = |module| {
            let (errno, bytes) = answer(module);
            (errno, u64::from_le_bytes(bytes[..8].try_into().unwrap()))
        };
        let (errno, now) = time(&realtime);
        assert!(errno == 0 && now > 1_700_000_000_000_000_000);
        let (first, second) = (time(&monotonic), time(&monotonic));
        assert!(first.0 == 0 && first.1 > 0 && second.1 > first.1);
        assert_eq!(time(&process).0, 58);
        assert_eq!(time(&poll), (0, 0));
    });
}

#[test]
fn random_bytes() {
    let few = caller("random_get", "(i32.const 64) (i32.const 32)", "");
    let many = caller("random_get", "(i32.const 1024) (i32.const 65536)", "");
    let too_many = caller("random_get", "(i32.const 64) (i32.const 65537)", "");
    let fault = caller("random_get", "(i32.const -16) (i32.const 32)", "");
    guarded(|| {
        assert_ne!(answer(&few).1, answer(&few).1);
        assert_eq!((answer(&many).0, answer(&too_many).0, answer(&fault).0), (0, 28, 21));
    });
}

#[test]
fn output_becomes_log() {
    // Two vectors at 256: "hello " and "world\n"; their bytes at 512.
    let data = r#"(data (i32.const 256) "\00\02\00\00\06\00\00\00\06\02\00\00\06\00\00\00")
      (data (i32.const 512) "hello world\n")"#;
    let write = |fd: u32| format!("(i32.const {fd}) (i32.const 256) (i32.const 2) (i32.const 64)");
    let out = caller("fd_write", &write(1), data);
    let err = caller("fd_write", &write(2), data);
    let none = caller("fd_write", &write(3), data);
    let wild = caller("fd_write", "(i32.const 1) (i32.const -8) (i32.const 2) (i32.const 64)", "");
    let vast = caller("fd_write", "(i32.const 1) (i32.const 0) (i32.const 1025) (i32.const 64)", "");
    let stat = caller("fd_fdstat_get", "(i32.const 1) (i32.const 64)", "");
    let long = caller(
        "fd_write",
        "(i32.const 1) (i32.const 256) (i32.const 1) (i32.const 64)",
        r#"(data (i32.const 256) "\00\02\00\00\00\80\00\00")"#,
    );
    guarded(|| {
        for (module, level) in [(&out, LogLevel::Info), (&err, LogLevel::Error)] {
            let (_vm, env, result) = tick(module);
            result.unwrap();
            let lines = env.lines.take();
            assert_eq!((lines[0].level, &lines[0].message[..]), (level, &b"hello world"[..]));
            assert_eq!((lines[1].message[0], u32s(&lines[1].message[1..])[0]), (0, 12));
        }
        let (_vm, env, _) = tick(&long);
        assert_eq!(env.lines.borrow()[0].message.len(), 8192);
        assert_eq!(u32s(&env.lines.borrow()[1].message[1..])[0], 32768, "the guest is told it wrote all");
        assert_eq!((answer(&none).0, answer(&wild).0, answer(&vast).0), (8, 21, 28));
        let (errno, stat) = answer(&stat);
        assert_eq!((errno, stat[0], u32s(&stat)[2]), (0, 2, 64));
    });
}

#[test]
fn files_are_not_there() {
    let zeros = |n: usize| "(i32.const 0) ".repeat(n);
    let open = caller("path_open", &format!("{} (i64.const 0) (i64.const 0) {}", zeros(5), zeros(2)), "");
    let prestat = caller("fd_prestat_get", "(i32.const 3) (i32.const 64)", "");
    let close = caller("fd_close", "(i32.const 1)", "");
    let read = caller("fd_read", &zeros(4), "");
    guarded(|| {
        assert_eq!([&open, &prestat, &close, &read].map(|module| answer(module).0), [44, 8, 0, 52]);
    });
}

#[test]
fn exit_ends_the_callback_and_the_vm() {
    let module = caller("proc_exit", "(i32.const 7)", "");
    guarded(|| {
        let (vm, _, result) = tick(&module);
        let failure = Failure::Trap { callback: "proxy_on_tick", trap: Trap::Exit(7) };
        assert_eq!((result, vm.failed()), (Err(failure.clone()), Some(&failure)));
    });
}
