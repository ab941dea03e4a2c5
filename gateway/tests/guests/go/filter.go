// The filter of ../README.md in standard Go: its garbage collector, scheduler, maps and fmt run in the
// gateway as they are. Built with -buildmode=c-shared for wasip1.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tollgate.test/guest/abi"
)

const (
	tick        = 20 * time.Millisecond
	callTimeout = 5 * time.Second
)

type plugin struct {
	tag, deny, auth string
	requests        abi.Counter
	calls           map[uint32]uint32 // call to stream
}

var (
	plugins = map[uint32]*plugin{}
	streams = map[uint32]*plugin{}
)

// The runtime starts in _initialize, which also runs init; main is never called.
func main() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(id, parent uint32) {
	if parent == 0 {
		plugins[id] = &plugin{calls: map[uint32]uint32{}}
	} else {
		streams[id] = plugins[parent]
	}
}

//go:wasmexport proxy_on_delete
func onDelete(id uint32) {
	delete(streams, id)
	delete(plugins, id)
}

//go:wasmexport proxy_on_vm_start
func onVMStart(_, _ uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func onConfigure(id, size uint32) uint32 {
	plugin := plugins[id]
	if err := plugin.configure(string(abi.PluginConfiguration.Read(size))); err != nil {
		abi.Log(abi.Error, err.Error())
		return 0
	}
	plugin.requests = abi.NewCounter("guest_requests")
	abi.SetTick(uint32(tick.Milliseconds()))
	fmt.Println("configured", plugin.tag) // by WASI
	return 1
}

func (plugin *plugin) configure(text string) error {
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "tag":
			plugin.tag = value
		case "deny":
			plugin.deny = value
		case "auth":
			plugin.auth = value
		}
	}
	if plugin.tag == "" {
		return errors.New("the configuration has no tag")
	}
	return nil
}

func countUp(key string) (count uint64) {
	abi.Update(key, func(old []byte) []byte {
		count, _ = strconv.ParseUint(string(old), 10, 64)
		count++
		return strconv.AppendUint(nil, count, 10)
	})
	return count
}

//go:wasmexport proxy_on_tick
func onTick(uint32) {
	if countUp("ticks") == 1 {
		abi.Log(abi.Info, "first tick")
	}
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, _, _ uint32) uint32 {
	plugin := streams[id]
	plugin.mark()
	path, _ := abi.RequestHeaders.Get(":path")
	switch {
	case plugin.deny != "" && path == plugin.deny:
		deny(403, "denied\n")
		return abi.Pause
	case path == "/crash":
		panic("asked to crash")
	case path == "/runtime":
		abi.RequestHeaders.Set("x-runtime", runtimeWorks())
	case path == "/auth" && plugin.auth != "":
		plugin.ask(id)
		return abi.Pause
	}
	return abi.Continue
}

func (plugin *plugin) mark() {
	headers := abi.RequestHeaders
	headers.Set("x-guest", plugin.tag)
	headers.Add("x-added", "1")
	headers.Add("x-added", "2")
	headers.Remove("x-debug")
	headers.Remove("content-length")
	headers.Set("x-hits", strconv.FormatUint(countUp("hits"), 10))
	headers.Set("x-count", strconv.FormatUint(plugin.requests.Increment(), 10))
	if client, found := abi.Property("source", "address"); found {
		headers.Set("x-client", string(client))
	}
}

// runtimeWorks uses what needs Go's scheduler, collector, clock and random numbers, and what the
// sandbox has not: files.
func runtimeWorks() string {
	var group sync.WaitGroup
	sums := make(chan int, 8)
	for worker := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			garbage := make([][]byte, 0, 64)
			for size := range 64 {
				garbage = append(garbage, make([]byte, size*16+worker))
			}
			sums <- len(garbage)
		}()
	}
	group.Wait()
	close(sums)
	total := 0
	for sum := range sums {
		total += sum
	}
	_, fileErr := os.ReadFile("/etc/passwd")
	return fmt.Sprintf("goroutines=%d clock=%t file=%t environment=%d", total, time.Now().Year() >= 2026, fileErr == nil,
		len(os.Environ()))
}

func deny(status uint32, body string) {
	abi.Answer(status, "denied by guest", body, [2]string{"x-denied-by", "go"})
}

func (plugin *plugin) ask(stream uint32) {
	call, sent := abi.Call(plugin.auth, uint32(callTimeout.Milliseconds()), [2]string{":method", "GET"},
		[2]string{":path", "/check"}, [2]string{":authority", "auth.example"})
	if !sent {
		deny(500, "no call\n")
		return
	}
	plugin.calls[call] = stream
}

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(id, call, _, bodySize, _ uint32) {
	plugin := plugins[id]
	stream, known := plugin.calls[call]
	delete(plugin.calls, call)
	status, _ := abi.CallHeaders.Get(":status")
	body := abi.CallBody.Read(bodySize)
	if !known || !abi.Enter(stream) {
		return
	}
	if status != "200" {
		deny(401, "who?\n")
		return
	}
	abi.RequestHeaders.Set("x-auth", string(body))
	abi.Resume()
}

//go:wasmexport proxy_on_request_body
func onRequestBody(_, size, endOfStream uint32) uint32 {
	if endOfStream == 0 {
		return abi.Pause
	}
	abi.RequestBody.Replace(bytes.ToUpper(abi.RequestBody.Read(size)))
	return abi.Continue
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, _, _ uint32) uint32 {
	headers := abi.ResponseHeaders
	for _, pair := range headers.All() {
		if pair[0] == "server" || pair[0] == "content-length" {
			headers.Remove(pair[0])
		}
	}
	headers.Set("x-guest", streams[id].tag)
	return abi.Continue
}

//go:wasmexport proxy_on_response_body
func onResponseBody(_, size, endOfStream uint32) uint32 {
	if endOfStream == 0 {
		return abi.Pause
	}
	body := abi.ResponseBody.Read(size)
	abi.ResponseBody.Replace(bytes.ReplaceAll(body, []byte("secret"), []byte("[hidden]")))
	return abi.Continue
}

//go:wasmexport proxy_on_log
func onLog(id uint32) {
	if code, found := abi.Property("response", "code"); found && len(code) == 8 {
		abi.Log(abi.Info, fmt.Sprintf("%s saw %d", streams[id].tag, binary.LittleEndian.Uint64(code)))
	}
}
