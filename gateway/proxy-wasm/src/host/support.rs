//! What becomes of an import: told to whoever looks at a module before it runs.

use tollgate_wasmedge::FuncType;

use super::HostFunctions;
use crate::environment::Environment;

/// What this host does for an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It is carried out.
    Served,
    /// It resolves, and answers an error that SDKs and language runtimes cope with.
    Refused,
    /// It does not resolve: the module does not load.
    Unknown,
}

/// WASI functions for which there is nothing: files, sockets, signals.
const REFUSED_WASI: [&str; 32] = [
    "fd_advise",
    "fd_allocate",
    "fd_datasync",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "proc_raise",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

impl<E: Environment> HostFunctions<E> {
    /// What becomes of the import `module`.`name`, and the type that it must have.
    pub fn support(&self, module: &str, name: &str) -> (Support, Option<&FuncType>) {
        let ty = self.all.func_type(module, name);
        let is_wasi = module.starts_with("wasi_");
        let support = match ty {
            None => Support::Unknown,
            Some(_) if is_wasi && REFUSED_WASI.contains(&name) => Support::Refused,
            Some(_) => Support::Served,
        };
        (support, ty)
    }
}
