package abi

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// Numbers of the ABI.
const (
	ok         = 0
	counter    = 0
	Debug      = 1
	Info       = 2
	Error      = 4
	Continue   = 0
	Pause      = 1
	Request    = 0
	noGRPC     = -1
	Everything = ^uint32(0)
)

// Headers names a map.
type Headers uint32

// The maps that this layer knows.
const (
	RequestHeaders  Headers = 0
	ResponseHeaders Headers = 2
	CallHeaders     Headers = 6
)

// Buffer names a body or a configuration.
type Buffer uint32

// The buffers that this layer knows.
const (
	RequestBody         Buffer = 0
	ResponseBody        Buffer = 1
	CallBody            Buffer = 4
	PluginConfiguration Buffer = 7
)

//go:wasmexport proxy_abi_version_0_2_1
func version() {}

// allocate is what the host calls for its results. They stay alive through the variable that the host
// writes the address to, before any Go code runs again.
//
//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(make([]byte, max(size, 1))))
}

func parts(text string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))
}

// fetch takes over what the host allocated.
func fetch(get func(data, size unsafe.Pointer) uint32) ([]byte, bool) {
	var data *byte
	var size uint32
	if get(unsafe.Pointer(&data), unsafe.Pointer(&size)) != ok {
		return nil, false
	}
	return unsafe.Slice(data, size), true
}

// Log writes a line.
func Log(level uint32, text string) {
	data, size := parts(text)
	proxyLog(level, data, size)
}

// SetTick asks for a call of proxy_on_tick every so many milliseconds.
func SetTick(milliseconds uint32) { proxySetTickPeriod(milliseconds) }

// Enter makes a stream the one that later calls act on; false if it is gone.
func Enter(stream uint32) bool { return proxySetEffectiveContext(stream) == ok }

// Resume lets a paused request go on.
func Resume() { proxyContinueStream(Request) }

// Get reads the first value of a field.
func (headers Headers) Get(name string) (string, bool) {
	data, size := parts(name)
	value, found := fetch(func(out, outSize unsafe.Pointer) uint32 {
		return proxyGetHeaderMapValue(uint32(headers), data, size, out, outSize)
	})
	return string(value), found
}

// All reads the whole map, in order.
func (headers Headers) All() [][2]string {
	blob, found := fetch(func(out, outSize unsafe.Pointer) uint32 {
		return proxyGetHeaderMapPairs(uint32(headers), out, outSize)
	})
	if !found || len(blob) < 4 {
		return nil
	}
	count := int(binary.LittleEndian.Uint32(blob))
	lengths, bytes := blob[4:4+8*count], blob[4+8*count:]
	pairs := make([][2]string, count)
	for index := range pairs {
		for part := range 2 {
			size := binary.LittleEndian.Uint32(lengths)
			pairs[index][part] = string(bytes[:size])
			lengths, bytes = lengths[4:], bytes[size+1:]
		}
	}
	return pairs
}

// Set replaces all values of a field.
func (headers Headers) Set(name, value string) {
	nameData, nameSize := parts(name)
	data, size := parts(value)
	proxyReplaceHeaderMapValue(uint32(headers), nameData, nameSize, data, size)
}

// Add keeps the values that are there.
func (headers Headers) Add(name, value string) {
	nameData, nameSize := parts(name)
	data, size := parts(value)
	proxyAddHeaderMapValue(uint32(headers), nameData, nameSize, data, size)
}

// Remove takes all values of a field away.
func (headers Headers) Remove(name string) {
	data, size := parts(name)
	proxyRemoveHeaderMapValue(uint32(headers), data, size)
}

// Read copies at most size bytes from the start.
func (buffer Buffer) Read(size uint32) []byte {
	bytes, _ := fetch(func(out, outSize unsafe.Pointer) uint32 {
		return proxyGetBufferBytes(uint32(buffer), 0, size, out, outSize)
	})
	return bytes
}

// Replace puts other bytes in the place of all.
func (buffer Buffer) Replace(bytes []byte) {
	proxySetBufferBytes(uint32(buffer), 0, Everything, unsafe.Pointer(unsafe.SliceData(bytes)), uint32(len(bytes)))
}

// Property reads a property by the segments of its path.
func Property(path ...string) ([]byte, bool) {
	data, size := parts(strings.Join(path, "\x00"))
	return fetch(func(out, outSize unsafe.Pointer) uint32 { return proxyGetProperty(data, size, out, outSize) })
}

// Update replaces a value of the shared data by what change makes of it, again and again until nobody
// else wrote in between.
func Update(key string, change func(old []byte) []byte) {
	data, size := parts(key)
	for {
		var cas uint32
		old, _ := fetch(func(out, outSize unsafe.Pointer) uint32 {
			return proxyGetSharedData(data, size, out, outSize, unsafe.Pointer(&cas))
		})
		value := change(old)
		if proxySetSharedData(data, size, unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), cas) == ok {
			return
		}
	}
}

// Counter is a metric that only grows.
type Counter uint32

// NewCounter defines it, or finds it.
func NewCounter(name string) Counter {
	var metric uint32
	data, size := parts(name)
	proxyDefineMetric(counter, data, size, unsafe.Pointer(&metric))
	return Counter(metric)
}

// Increment adds one and returns the new value.
func (metric Counter) Increment() uint64 {
	var value uint64
	proxyIncrementMetric(uint32(metric), 1)
	proxyGetMetric(uint32(metric), unsafe.Pointer(&value))
	return value
}

// Answer replies in place of the upstream.
func Answer(status uint32, details, body string, headers ...[2]string) {
	detailsData, detailsSize := parts(details)
	bodyData, bodySize := parts(body)
	headersData, headersSize := parts(serialize(headers))
	proxySendLocalResponse(status, detailsData, detailsSize, bodyData, bodySize, headersData, headersSize, noGRPC)
}

// Call sends a request to an upstream and returns the number of the call.
func Call(upstream string, timeoutMs uint32, headers ...[2]string) (uint32, bool) {
	var call uint32
	upstreamData, upstreamSize := parts(upstream)
	headersData, headersSize := parts(serialize(headers))
	status := proxyHTTPCall(upstreamData, upstreamSize, headersData, headersSize, nil, 0, nil, 0, timeoutMs, unsafe.Pointer(&call))
	return call, status == ok
}

func serialize(pairs [][2]string) string {
	blob := binary.LittleEndian.AppendUint32(nil, uint32(len(pairs)))
	for _, pair := range pairs {
		blob = binary.LittleEndian.AppendUint32(blob, uint32(len(pair[0])))
		blob = binary.LittleEndian.AppendUint32(blob, uint32(len(pair[1])))
	}
	for _, pair := range pairs {
		blob = append(append(append(append(blob, pair[0]...), 0), pair[1]...), 0)
	}
	return string(blob)
}
