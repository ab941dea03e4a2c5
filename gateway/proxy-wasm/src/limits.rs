//! What a guest may ask for at most. Nothing a guest passes is trusted: a length beyond these limits
//! is refused, or cut where the table of the function says so, before anything is copied.

/// A pairs blob, in bytes (the C++ host's limit).
pub(crate) const PAIRS_BYTES_MAX: usize = 1 << 20;
/// Pairs in one blob (the C++ host's limit).
pub(crate) const PAIRS_MAX: usize = 1024;
/// The name of a header.
pub(crate) const HEADER_NAME_BYTES_MAX: usize = 8 << 10;
/// The value of a header.
pub(crate) const HEADER_VALUE_BYTES_MAX: usize = 64 << 10;
/// A line of log; longer ones are cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 8 << 10;
/// Lines of log kept to explain a failed start.
pub(crate) const START_LOG_LINES_MAX: usize = 8;
/// A property path, its separators included.
pub(crate) const PROPERTY_PATH_BYTES_MAX: usize = 4 << 10;
/// A property that a guest sets.
pub(crate) const PROPERTY_VALUE_BYTES_MAX: usize = 64 << 10;
/// Status details of a local response; longer ones are cut.
pub(crate) const DETAILS_BYTES_MAX: usize = 1 << 10;
/// One `random_get` (the C++ host's limit).
pub(crate) const RANDOM_BYTES_MAX: usize = 64 << 10;
/// Vectors in one `fd_write`.
pub(crate) const IOVECS_MAX: u32 = 1024;
/// The name of a metric.
pub(crate) const METRIC_NAME_BYTES_MAX: usize = 256;
/// Metrics of all guests together.
pub(crate) const METRICS_MAX: usize = 4096;
/// Contexts of one VM that answered "not yet" to `proxy_on_done`; one more is ended at once.
pub(crate) const PENDING_DONE_MAX: usize = 1024;
/// What a foreign function is given to compress or to uncompress.
pub(crate) const FOREIGN_BYTES_MAX: usize = 1 << 20;
/// What `uncompress` gives.
pub(crate) const UNCOMPRESSED_BYTES_MAX: usize = 8 << 20;
/// Properties that one plugin declares.
pub(crate) const DECLARED_PROPERTIES_MAX: usize = 64;
/// Scratch memory kept between calls; a larger buffer is given back.
pub(crate) const SCRATCH_BYTES_KEPT: usize = 64 << 10;
/// The name of a server in a side call.
pub(crate) const UPSTREAM_NAME_BYTES_MAX: usize = 4 << 10;
/// The name of a gRPC service or method.
pub(crate) const GRPC_NAME_BYTES_MAX: usize = 4 << 10;
/// The user, or the password, that a guest logs in to Redis with.
pub(crate) const REDIS_LOGIN_BYTES_MAX: usize = 4 << 10;
