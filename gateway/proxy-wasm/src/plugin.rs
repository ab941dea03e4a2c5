//! What the gateway asks a VM to run: the VM itself and the plugins (filters) in it.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::host_calls::HostCalls;
use crate::limits::DECLARED_PROPERTIES_MAX;
use crate::shared_queue::{QueueId, QueueReader};

/// How to build a VM. Plugins that agree in module, `vm_id` and `configuration` share one VM on each
/// worker.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// Names the VM: guests with the same name share data, whatever their module.
    pub vm_id: Arc<str>,
    /// Given to `proxy_on_vm_start`, readable as the buffer VM_CONFIGURATION.
    pub configuration: Arc<[u8]>,
    /// The whole of the guest's WASI environment.
    pub environment: Vec<(String, String)>,
    /// Ceiling of the guest's memory, in pages of 64 KiB.
    pub memory_pages_max: u32,
    /// What the guest may call.
    pub capabilities: Capabilities,
    /// CPU time for `_initialize`, `main` or `_start`, and for each callback of a plugin's start.
    pub start_budget: Duration,
}

/// How to build a plugin in a VM.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// The filter's name in policy, logs and the property `plugin_name`.
    pub name: Arc<str>,
    /// The property `plugin_root_id`; C++ guests choose their root factory by it.
    pub root_id: Arc<str>,
    /// Given to `proxy_on_configure`, readable as the buffer PLUGIN_CONFIGURATION.
    pub configuration: Arc<[u8]>,
    /// CPU time for each callback of a request, a tick, and of the end of a context.
    pub budget: Duration,
    /// Who is told that a queue of the plugin's has something to read. `None`: nobody.
    pub queue_reader: Option<Arc<dyn QueueReader>>,
    /// Side calls that may be under way at once.
    pub calls_max: usize,
}

/// A plugin that runs.
#[derive(Debug)]
pub struct Plugin {
    id: PluginId,
    spec: PluginSpec,
    queue_reader: Arc<dyn QueueReader>,
    declared: RefCell<Vec<(Box<str>, Access)>>,
    host_calls: Rc<HostCalls>,
}

impl Plugin {
    pub(crate) fn new(id: PluginId, spec: PluginSpec) -> Self {
        let queue_reader = spec.queue_reader.clone().unwrap_or_else(|| Arc::new(NoReader));
        Self { id, spec, queue_reader, declared: RefCell::default(), host_calls: Rc::default() }
    }

    pub(crate) fn queue_reader(&self) -> &Arc<dyn QueueReader> {
        &self.queue_reader
    }

    pub(crate) fn host_calls(&self) -> &Rc<HostCalls> {
        &self.host_calls
    }

    /// Declares a property of the plugin's own; false if it is declared already, or one too many.
    pub(crate) fn declare(&self, name: &str, access: Access) -> bool {
        let mut declared = self.declared.borrow_mut();
        let is_new = declared.iter().all(|(known, _)| **known != *name);
        if is_new && declared.len() < DECLARED_PROPERTIES_MAX {
            declared.push((name.into(), access));
            return true;
        }
        false
    }

    /// What was declared for a property.
    pub(crate) fn access(&self, path: &[u8]) -> Access {
        let declared = self.declared.borrow();
        let known = declared.iter().find(|(name, _)| name.as_bytes() == path);
        known.map_or(Access::Write, |(_, access)| *access)
    }

    /// Its id in its VM.
    pub fn id(&self) -> PluginId {
        self.id
    }

    /// What it was built from.
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }
}

/// How often a property may be written in one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    WriteOnce,
}

/// The reader of a plugin whose gateway delivers no notices; its queues live as long as the plugin.
#[derive(Debug)]
struct NoReader;

impl QueueReader for NoReader {
    fn notify(&self, _: QueueId) {}
}

/// A plugin's root context, unique within its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PluginId(NonZeroU32);

/// A stream context, unique within its VM as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextId(NonZeroU32);

macro_rules! context_number {
    ($name:ident) => {
        impl $name {
            pub(crate) const fn new(id: NonZeroU32) -> Self {
                Self(id)
            }

            /// The number the guest knows it by.
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }
    };
}
context_number!(PluginId);
context_number!(ContextId);
