package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/keyhold/kms"
)

// keyAlias names the key of the notes.
const keyAlias = "alias/notes"

// A note as callers see it.
type note struct {
	ID    string `json:"id,omitempty"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// A record is a note as it is kept: its title as it is, its text encrypted.
type record struct {
	Tenant string `json:"tenant"`
	Title  string `json:"title"`
	Text   []byte `json:"text"`
}

// service is the HTTP handler.
type service struct {
	keys *kms.Manager
	who  callers
	log  *slog.Logger
	mux  *http.ServeMux

	mu      sync.Mutex
	records map[string]record
}

// newService makes the key, if this is the first time.
func newService(ctx context.Context, keys *kms.Manager, who callers, log *slog.Logger) (*service, error) {
	s := &service{keys: keys, who: who, log: log, mux: http.NewServeMux(), records: map[string]record{}}
	s.mux.HandleFunc("POST /notes", s.only(tenant, s.addNote))
	s.mux.HandleFunc("GET /notes/{id}", s.only(tenant, s.getNote))
	s.mux.HandleFunc("GET /key", s.only(operator, s.key(keys.DescribeKey)))
	s.mux.HandleFunc("POST /key/disable", s.only(operator, s.key(keys.DisableKey)))
	s.mux.HandleFunc("POST /key/enable", s.only(operator, s.key(keys.EnableKey)))

	ctx = as(ctx, caller{role: itself})
	_, err := keys.DescribeKey(ctx, keyAlias)
	if errors.Is(err, kms.ErrNotFound) {
		var key kms.Key
		if key, err = keys.CreateKey(ctx, &kms.CreateKeyOptions{Description: "texts of notes"}); err == nil {
			err = keys.CreateAlias(ctx, keyAlias, key.ID)
		}
	}
	return s, err
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// A handler answers a caller with a status and something to send, or with an error.
type handler func(r *http.Request, who caller) (status int, answer any, err error)

// only lets callers of one role through, and gives the Manager's calls their caller.
func (s *service) only(wanted role, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := s.who.of(r)
		status, answer, err := http.StatusUnauthorized, any(problem{Code: "Unauthorized"}), error(nil)
		switch who.role {
		case wanted:
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			if status, answer, err = h(r.WithContext(as(r.Context(), who)), who); err != nil {
				status, answer = s.problemOf(err)
			}
		case nobody:
			w.Header().Set("WWW-Authenticate", "Bearer")
		default:
			status, answer = http.StatusForbidden, problem{Code: "Forbidden"}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // the caller has gone: nobody to tell
	}
}

func (s *service) addNote(r *http.Request, who caller) (int, any, error) {
	var n note
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		return http.StatusBadRequest, problem{Code: "BadRequest", Hint: `Send {"title": "…", "text": "…"}.`}, nil
	}
	n.ID = rand.Text()
	text, err := s.keys.Encrypt(r.Context(), keyAlias, []byte(n.Text), purpose(who, n.ID))
	if err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	s.records[n.ID] = record{Tenant: who.tenant, Title: n.Title, Text: text}
	s.mu.Unlock()
	return http.StatusCreated, map[string]string{"id": n.ID}, nil
}

func (s *service) getNote(r *http.Request, who caller) (int, any, error) {
	id := r.PathValue("id")
	s.mu.Lock()
	kept, ok := s.records[id]
	s.mu.Unlock()
	if !ok || kept.Tenant != who.tenant {
		return http.StatusNotFound, problem{Code: "NoSuchNote"}, nil
	}
	text, err := s.keys.Decrypt(r.Context(), kept.Text, purpose(who, id))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, note{ID: id, Title: kept.Title, Text: string(text)}, nil
}

// key is a handler that does something to the key and tells its state.
func (s *service) key(do func(context.Context, string) (kms.Key, error)) handler {
	return func(r *http.Request, _ caller) (int, any, error) {
		key, err := do(r.Context(), keyAlias)
		return http.StatusOK, map[string]string{"id": key.ID, "state": key.State.String()}, err
	}
}

// purpose binds a text to its field, its note and its tenant: put anywhere else in the
// database it does not open.
func purpose(who caller, id string) kms.EncryptionContext {
	return kms.EncryptionContext{"tenant": who.tenant, "note": id, "field": "text"}
}
