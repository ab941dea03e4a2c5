/* What a filter imports and what the numbers mean: Proxy-Wasm ABI 0.2.1, for C and C++.
 *
 * Results that the host returns lie in memory that it asked of the module's own allocator: they are
 * the caller's, to be given to free(). */
#ifndef PROXY_WASM_H
#define PROXY_WASM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PROXY_WASM_IMPORT(name) __attribute__((import_module("env"), import_name(#name))) name
#define PROXY_WASM_EXPORT(name) __attribute__((export_name(#name))) name

enum proxy_status { PROXY_OK = 0, PROXY_NOT_FOUND = 1, PROXY_BAD_ARGUMENT = 2, PROXY_CAS_MISMATCH = 8 };
enum proxy_log_level { PROXY_TRACE, PROXY_DEBUG, PROXY_INFO, PROXY_WARN, PROXY_ERROR, PROXY_CRITICAL };
enum proxy_action { PROXY_CONTINUE = 0, PROXY_PAUSE = 1 };
enum proxy_map { PROXY_REQUEST_HEADERS = 0, PROXY_RESPONSE_HEADERS = 2, PROXY_CALL_HEADERS = 6 };
enum proxy_buffer { PROXY_REQUEST_BODY = 0, PROXY_RESPONSE_BODY = 1, PROXY_CALL_BODY = 4, PROXY_PLUGIN_CONFIGURATION = 7 };
enum proxy_stream { PROXY_STREAM_REQUEST = 0, PROXY_STREAM_RESPONSE = 1 };
enum proxy_metric { PROXY_COUNTER, PROXY_GAUGE, PROXY_HISTOGRAM };

uint32_t PROXY_WASM_IMPORT(proxy_log)(uint32_t level, const char *text, size_t size);
uint32_t PROXY_WASM_IMPORT(proxy_set_tick_period_milliseconds)(uint32_t period);
uint32_t PROXY_WASM_IMPORT(proxy_set_effective_context)(uint32_t context);
uint32_t PROXY_WASM_IMPORT(proxy_get_buffer_bytes)(uint32_t buffer, size_t start, size_t max, char **data, size_t *size);
uint32_t PROXY_WASM_IMPORT(proxy_set_buffer_bytes)(uint32_t buffer, size_t start, size_t old_size, const char *data, size_t size);
uint32_t PROXY_WASM_IMPORT(proxy_get_header_map_value)(uint32_t map, const char *name, size_t name_size, char **value, size_t *size);
uint32_t PROXY_WASM_IMPORT(proxy_add_header_map_value)(uint32_t map, const char *name, size_t name_size, const char *value, size_t size);
uint32_t PROXY_WASM_IMPORT(proxy_replace_header_map_value)(uint32_t map, const char *name, size_t name_size, const char *value, size_t size);
uint32_t PROXY_WASM_IMPORT(proxy_remove_header_map_value)(uint32_t map, const char *name, size_t name_size);
uint32_t PROXY_WASM_IMPORT(proxy_continue_stream)(uint32_t stream);
uint32_t PROXY_WASM_IMPORT(proxy_send_local_response)(uint32_t status, const char *details, size_t details_size, const char *body,
                                                      size_t body_size, const char *headers, size_t headers_size, int32_t grpc_status);
uint32_t PROXY_WASM_IMPORT(proxy_http_call)(const char *upstream, size_t upstream_size, const char *headers, size_t headers_size,
                                            const char *body, size_t body_size, const char *trailers, size_t trailers_size,
                                            uint32_t timeout_ms, uint32_t *call);
uint32_t PROXY_WASM_IMPORT(proxy_get_shared_data)(const char *key, size_t key_size, char **value, size_t *size, uint32_t *cas);
uint32_t PROXY_WASM_IMPORT(proxy_set_shared_data)(const char *key, size_t key_size, const char *value, size_t size, uint32_t cas);
uint32_t PROXY_WASM_IMPORT(proxy_define_metric)(uint32_t type, const char *name, size_t name_size, uint32_t *metric);
uint32_t PROXY_WASM_IMPORT(proxy_increment_metric)(uint32_t metric, int64_t delta);
uint32_t PROXY_WASM_IMPORT(proxy_get_metric)(uint32_t metric, uint64_t *value);
uint32_t PROXY_WASM_IMPORT(proxy_get_property)(const char *path, size_t path_size, char **value, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
