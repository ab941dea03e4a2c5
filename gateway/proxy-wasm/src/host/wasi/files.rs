//! Files and sockets: there are none.

use tollgate_wasmedge::{Caller, Linker};

use super::{WasiResult, wasi};
use crate::abi::status::Errno;
use crate::environment::Environment;
use crate::host::State;

/// Declares functions of one parameter type that answer one errno.
macro_rules! answer {
    ($linker:ident, $($name:literal, $params:ty => $errno:ident;)+) => {
        $({
            fn function<E: Environment>(_: &mut Caller<'_, State<E>>, _: $params) -> WasiResult {
                Ok(Errno::$errno)
            }
            wasi!($linker, $name => function);
        })+
    };
}

type U2 = (u32, u32);
type U3 = (u32, u32, u32);
type U4 = (u32, u32, u32, u32);
type U5 = (u32, u32, u32, u32, u32);
type U6 = (u32, u32, u32, u32, u32, u32);
type U7 = (u32, u32, u32, u32, u32, u32, u32);

/// Descriptors: the three standard ones cannot be read or changed, and there are no others.
/// `fd_close` and `fd_seek` succeed because runtimes call them on standard output at exit.
pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    answer!(linker,
        "fd_advise", (u32, u64, u64, u32) => BadF;
        "fd_allocate", (u32, u64, u64) => BadF;
        "fd_close", u32 => Success;
        "fd_datasync", u32 => BadF;
        "fd_fdstat_set_flags", U2 => NoSys;
        "fd_fdstat_set_rights", (u32, u64, u64) => BadF;
        "fd_filestat_get", U2 => BadF;
        "fd_filestat_set_size", (u32, u64) => BadF;
        "fd_filestat_set_times", (u32, u64, u64, u32) => BadF;
        "fd_pread", (u32, u32, u32, u64, u32) => BadF;
        "fd_prestat_get", U2 => BadF;
        "fd_prestat_dir_name", U3 => NoSys;
        "fd_pwrite", (u32, u32, u32, u64, u32) => BadF;
        "fd_read", U4 => NoSys;
        "fd_readdir", (u32, u32, u32, u64, u32) => BadF;
        "fd_renumber", U2 => BadF;
        "fd_seek", (u32, u64, u32, u32) => Success;
        "fd_sync", u32 => BadF;
        "fd_tell", U2 => BadF;
        "path_create_directory", U3 => NotSup;
        "path_filestat_get", U5 => NotSup;
        "path_filestat_set_times", (u32, u32, u32, u32, u64, u64, u32) => NotSup;
        "path_link", U7 => NotSup;
        "path_open", (u32, u32, u32, u32, u32, u64, u64, u32, u32) => NoEnt;
        "path_readlink", U6 => NotSup;
        "path_remove_directory", U3 => NotSup;
        "path_rename", U6 => NotSup;
        "path_symlink", U5 => NotSup;
        "path_unlink_file", U3 => NotSup;
        "sock_accept", U3 => NotSup;
        "sock_recv", U6 => NotSup;
        "sock_send", U5 => NotSup;
        "sock_shutdown", U2 => NotSup;
    );
}
