// Command service keeps notes over HTTP. Their texts are encrypted with keys that the
// service has in itself: there is no key server beside it.
//
//	go run ./examples/service -dir folder -callers callers.json -init
//
// makes the folder, the root and the key store, and serves. Every later start leaves -init away: a
// folder that is mistyped is refused then, and not filled with new keys.
//
// The file of callers holds a token for each tenant and one for the operator:
//
//	{"operator": "…", "tenants": {"acme": "…", "globex": "…"}}
//
// A tenant writes and reads its own notes:
//
//	curl -H "Authorization: Bearer $TOKEN" -d '{"title":"Monday","text":"a secret"}' localhost:8080/notes
//	curl -H "Authorization: Bearer $TOKEN" localhost:8080/notes/…
//
// The operator looks after the key, and can read no note: GET /key, POST /key/disable,
// POST /key/enable.
//
// The notes are in memory and gone when the program ends; in earnest they are in a
// database. The keys are in the folder, and so is the root, which in earnest is kept
// elsewhere. TLS is left to what stands in front.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:], func(net.Addr) {}); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then until the calls under way are done. It tells ready
// when it listens.
func run(ctx context.Context, out io.Writer, args []string, ready func(net.Addr)) (err error) {
	flags := flag.NewFlagSet("service", flag.ExitOnError)
	dir := flags.String("dir", "", "`folder` of the key store and the root")
	first := flags.Bool("init", false, "make the folder, the root and the key store first, which must not exist")
	callersFile := flags.String("callers", "callers.json", "`file` with the tokens of the callers")
	address := flags.String("address", "localhost:8080", "where to listen")
	_ = flags.Parse(args) // ends the program where it fails

	if *dir == "" {
		return errors.New("name a folder with -dir")
	}
	who, err := readCallers(*callersFile)
	if err != nil {
		return err
	}
	openRoot := software.OpenRootFile
	if *first {
		openRoot = software.CreateRootFile
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return err
		}
	}
	root, err := openRoot(filepath.Join(*dir, "root.key"))
	if _, absent := os.Stat(filepath.Join(*dir, "keys.db")); *first && errors.Is(err, fs.ErrExist) && errors.Is(absent, fs.ErrNotExist) {
		root, err = software.OpenRootFile(filepath.Join(*dir, "root.key")) // it was killed between the two
	}
	if err != nil {
		return err
	}
	store, err := boltstore.Open(filepath.Join(*dir, "keys.db"), &boltstore.Options{Create: *first})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }() // after the last use of the keys

	log := slog.New(slog.NewJSONHandler(out, nil))
	config := kms.Config{Store: store, Root: root, Software: software.New(), Authorize: authorize, Observe: observe(log)}
	keys, err := kms.Open(ctx, config)
	if err != nil {
		return err
	}
	service, err := newService(ctx, keys, who, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: service, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}

	// What time does to keys, once a minute, and the service beside it. Both have ended
	// before the store is closed.
	maintained := make(chan struct{})
	maintaining, stopMaintaining := context.WithCancel(ctx)
	go func() {
		defer close(maintained)
		_ = keys.Run(as(maintaining, caller{role: itself})) // its cause is that we are done
	}()
	defer func() { stopMaintaining(); <-maintained }()

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready(listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(ending)
}
