// Copyright (c) 2026, The strata.overlay2 authors
// BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
// SPDX-License-Identifier: BSD-2-Clause

// The Go driver as a contender of the benchmark: ours.py has the same commands, and contenders.py speaks to both.
//
// A command is a line of JSON, and so is the answer: the seconds that the driver's calls took, the process's peak
// resident set since the command came, and a number that must be the same for every contender.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/docker/docker/daemon/graphdriver"
	"github.com/docker/docker/daemon/graphdriver/overlay2"
	"github.com/docker/docker/pkg/archive"
	"github.com/docker/docker/pkg/reexec"
)

type command struct {
	Do, Home, Layer, Parent, File string
	Options                       []string
	Times                         int
}

type answer struct {
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak"`
	Result  int64   `json:"result"`
	Path    string  `json:"path,omitempty"`
	Error   string  `json:"error,omitempty"`
}

var (
	driver graphdriver.Driver
	home   string
)

func main() {
	if reexec.Init() { // the child that unpacks, in its chroot
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var given command
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			panic(err)
		}
		if err := out.Encode(carryOut(given)); err != nil {
			panic(err)
		}
	}
}

func carryOut(given command) (said answer) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return answer{Error: err.Error()}
	}
	started := time.Now()
	var err error
	said.Result, said.Path, err = call(given)
	said.Seconds = time.Since(started).Seconds()
	if err != nil {
		said.Error = err.Error()
	}
	said.Peak = peak()
	return said
}

func call(given command) (result int64, path string, err error) {
	switch given.Do {
	case "open":
		home = given.Home
		driver, err = overlay2.Init(home, given.Options, nil, nil)
		if err == nil {
			driver.Status() // it tries once whether it can diff natively
		}
	case "create":
		err = driver.Create(given.Layer, given.Parent, nil)
	case "remove":
		err = driver.Remove(given.Layer)
	case "apply":
		result, err = apply(given)
	case "diff":
		result, err = diff(given)
	case "changes":
		var changes []archive.Change
		changes, err = driver.Changes(given.Layer, given.Parent)
		result = int64(len(changes))
	case "diffsize":
		result, err = driver.DiffSize(given.Layer, given.Parent)
	case "list":
		result, err = list()
	case "get":
		path, err = get(given.Layer)
	case "put":
		err = driver.Put(given.Layer)
	case "create_remove":
		for n := 0; n < given.Times && err == nil; n++ {
			id := fmt.Sprintf("%s-%d", given.Layer, n)
			if err = driver.Create(id, given.Parent, nil); err == nil {
				err = driver.Remove(id)
			}
		}
	case "get_put":
		for n := 0; n < given.Times && err == nil; n++ {
			if _, err = driver.Get(given.Layer, ""); err == nil {
				err = driver.Put(given.Layer)
			}
		}
	default:
		err = errors.New("no such command: " + given.Do)
	}
	return result, path, err
}

func get(layer string) (string, error) {
	mounted, err := driver.Get(layer, "")
	if err != nil {
		return "", err
	}
	return mounted.Path(), nil
}

// apply decompresses as moby does; for zstd, which this version does not know, by the program, as it does for xz.
func apply(given command) (int64, error) {
	source, err := os.Open(given.File)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	switch {
	case strings.HasSuffix(given.File, ".gz"):
		stream, err := archive.DecompressStream(source)
		if err != nil {
			return 0, err
		}
		defer stream.Close()
		return driver.ApplyDiff(given.Layer, given.Parent, stream)
	case strings.HasSuffix(given.File, ".zst"):
		zstd := exec.Command("zstd", "-dc")
		zstd.Stdin = source
		stream, err := zstd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := zstd.Start(); err != nil {
			return 0, err
		}
		size, err := driver.ApplyDiff(given.Layer, given.Parent, stream)
		if failed := zstd.Wait(); err == nil {
			err = failed
		}
		return size, err
	}
	return driver.ApplyDiff(given.Layer, given.Parent, source)
}

// diff writes the stream to a file, a named pipe or /dev/null; its length is not compared, since formats differ.
func diff(given command) (int64, error) {
	target, err := os.OpenFile(given.File, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer target.Close()
	stream, err := driver.Diff(given.Layer, given.Parent)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	_, err = io.Copy(target, stream)
	return 0, err
}

// list counts the layers and asks for the metadata of each; the driver itself has no call that lists.
func list() (int64, error) {
	entries, err := os.ReadDir(home)
	if err != nil {
		return 0, err
	}
	found := int64(0)
	for _, entry := range entries {
		if entry.Name() == "l" || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if _, err := driver.GetMetadata(entry.Name()); err != nil {
			return 0, err
		}
		found++
	}
	return found, nil
}

// peak is the largest resident set in bytes since clear_refs was written to.
func peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kibibytes int64
	if _, err := fmt.Sscanf(after, "%d", &kibibytes); err != nil {
		panic(err)
	}
	return kibibytes * 1024
}
