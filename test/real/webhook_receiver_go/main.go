// Verifies what is posted to it with the public library of Standard Webhooks for Go, as webhook_receiver.py does with that for Python.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

var (
	lock     sync.Mutex
	verifier *standardwebhooks.Webhook
	counts   = map[string]int{"verified": 0, "refused": 0, "altered_refused": 0, "altered_verified": 0}
)

func know(secret string) {
	made, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		panic(err)
	}
	verifier = made
}

func count(name string, body []byte, headers http.Header) {
	if verifier.Verify(body, headers) == nil {
		counts[name+"verified"]++
	} else {
		counts[name+"refused"]++
	}
}

func with(headers http.Header, name, value string) http.Header {
	other := headers.Clone()
	other.Set(name, value)
	return other
}

func answer(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	lock.Lock()
	defer lock.Unlock()
	headers := request.Header
	switch request.Method {
	case http.MethodPost:
		count("", body, headers)
		time, _ := strconv.Atoi(headers.Get("webhook-timestamp"))
		count("altered_", append(body, ' '), headers)
		count("altered_", body, with(headers, "webhook-id", "another"))
		count("altered_", body, with(headers, "webhook-timestamp", strconv.Itoa(time+1)))
	case http.MethodPut:
		know(string(body))
	case http.MethodGet:
		json.NewEncoder(response).Encode(counts)
	}
}

func main() {
	know(os.Args[1])
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(answer)))
}
