// SPDX-License-Identifier: Apache-2.0

// Command weft-ask asks what a workload would, and prints the answer. It runs in
// the virtual machines of tests, statically linked, where nothing else does.
//
//	weft-ask resolve NAME
//	weft-ask get URL
//	weft-ask post URL BYTES
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// timeout bounds everything; an emulated processor is slow.
const timeout = 40 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := ask(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "weft-ask:", err)
		os.Exit(1)
	}
}

func ask(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "resolve":
		addresses, err := net.DefaultResolver.LookupHost(ctx, arguments[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case len(arguments) == 2 && arguments[0] == "get":
		return request(ctx, http.MethodGet, arguments[1], nil)
	case len(arguments) == 3 && arguments[0] == "post":
		size, err := strconv.Atoi(arguments[2])
		if err != nil {
			return err
		}
		return request(ctx, http.MethodPost, arguments[1], bytes.Repeat([]byte("weft"), size/4))
	}
	return errors.New("want resolve NAME, get URL or post URL BYTES")
}

// request prints a short answer, of a long one its size and sum.
func request(ctx context.Context, method, url string, body []byte) error {
	q, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if len(text) > 1000 {
		fmt.Printf("%d bytes %x\n", len(text), sha256.Sum256(text))
		return err
	}
	fmt.Printf("%s\n", text)
	return err
}
