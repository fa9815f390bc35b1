package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

const (
	operatorToken = "operator-token-of-the-test"
	acmeToken     = "acme-token-of-the-test"
	globexToken   = "globex-token-of-the-test"
	secret        = "the text that nobody else may read"
)

// subject is the service under test: its handler, its keys and what it logged.
type subject struct {
	*service
	k   *kmstest.KMS
	log *bytes.Buffer
}

func callersFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callers.json")
	b, err := json.Marshal(map[string]any{"operator": operatorToken,
		"tenants": map[string]string{"acme": acmeToken, "globex": globexToken}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func newSubject(t *testing.T) *subject {
	t.Helper()
	who, err := readCallers(callersFile(t))
	require.NoError(t, err)
	out := new(bytes.Buffer)
	log := slog.New(slog.NewJSONHandler(out, nil))
	k := kmstest.New(t, func(c *kms.Config) { c.Authorize, c.Observe = authorize, observe(log) })
	s, err := newService(t.Context(), k.Manager, who, log)
	require.NoError(t, err)
	return &subject{s, k, out}
}

// call sends one request and returns the status and the fields of the answer.
func (s *subject) call(t *testing.T, token, request, body string) (int, map[string]string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	fields := map[string]string{}
	if w.Header().Get("Content-Type") == "application/json" {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &fields))
	}
	return w.Code, fields
}

// add has acme add a note, and returns its path.
func (s *subject) add(t *testing.T, text string) string {
	t.Helper()
	body, err := json.Marshal(note{Title: "Monday", Text: text})
	require.NoError(t, err)
	status, answer := s.call(t, acmeToken, "POST /notes", string(body))
	require.Equal(t, http.StatusCreated, status, answer)
	return "/notes/" + answer["id"]
}

// outside is the same key store under no guard, as a tool of its owner would have it.
func (s *subject) outside(t *testing.T) (*kms.Manager, string) {
	t.Helper()
	m := s.k.Another(t, func(c *kms.Config) { c.Authorize, c.Observe = nil, nil })
	key, err := m.DescribeKey(t.Context(), keyAlias)
	require.NoError(t, err)
	return m, key.ID
}

func TestNotes(t *testing.T) {
	s := newSubject(t)
	path := s.add(t, secret)
	status, answer := s.call(t, acmeToken, "GET "+path, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]string{"id": strings.TrimPrefix(path, "/notes/"), "title": "Monday", "text": secret}, answer)

	kept := s.records[answer["id"]]
	require.Equal(t, "Monday", kept.Title)
	require.NotContains(t, string(kept.Text), secret[:8])
	_, err := kms.Inspect(kept.Text)
	require.NoError(t, err, "what is kept is a ciphertext")
}

func TestWhoMayDoWhat(t *testing.T) {
	s := newSubject(t)
	path := s.add(t, secret)
	for _, c := range []struct {
		token, request string
		status         int
	}{
		{"", "GET " + path, http.StatusUnauthorized},
		{"a token that nobody has", "GET " + path, http.StatusUnauthorized},
		{globexToken, "GET " + path, http.StatusNotFound},
		{acmeToken, "GET /notes/none", http.StatusNotFound},
		{operatorToken, "GET " + path, http.StatusForbidden},
		{operatorToken, "POST /notes", http.StatusForbidden},
		{acmeToken, "GET /key", http.StatusForbidden},
		{acmeToken, "POST /key/disable", http.StatusForbidden},
		{acmeToken, "POST /notes", http.StatusBadRequest}, // no body
		{acmeToken, "DELETE " + path, http.StatusMethodNotAllowed},
		{operatorToken, "GET /key", http.StatusOK},
	} {
		status, answer := s.call(t, c.token, c.request, "")
		require.Equal(t, c.status, status, "%s %s: %v", c.token, c.request, answer)
	}
}

// TestDisabledKey: the operator disables the key, and the notes are there again when it is
// enabled.
func TestDisabledKey(t *testing.T) {
	s := newSubject(t)
	path := s.add(t, secret)
	status, answer := s.call(t, operatorToken, "POST /key/disable", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Disabled", answer["state"])

	for _, request := range []string{"GET " + path, "POST /notes"} {
		status, answer = s.call(t, acmeToken, request, "{}")
		require.Equal(t, http.StatusConflict, status)
		require.Equal(t, "Rejected.Disabled", answer["code"])
		require.Contains(t, answer["hint"], "Enable the key")
	}

	status, answer = s.call(t, operatorToken, "POST /key/enable", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Enabled", answer["state"])
	status, answer = s.call(t, acmeToken, "GET "+path, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, secret, answer["text"])
}

// TestStatuses: what goes wrong with a key has a status and a code, and gives no more away.
func TestStatuses(t *testing.T) {
	s := newSubject(t)
	path, other := s.add(t, secret), s.add(t, "another")
	fails := func(request, body string, status int, code string) {
		t.Helper()
		got, answer := s.call(t, acmeToken, request, body)
		require.Equal(t, status, got)
		require.Equal(t, code, answer["code"])
		require.Empty(t, answer["text"])
	}
	tooLong, err := json.Marshal(note{Text: strings.Repeat("x", kms.MaxPlaintext+1)})
	require.NoError(t, err)
	fails("POST /notes", string(tooLong), http.StatusBadRequest, "InvalidParameter")

	// Somebody puts one text in the place of another, in the database.
	id, otherID := strings.TrimPrefix(path, "/notes/"), strings.TrimPrefix(other, "/notes/")
	right := s.records[id]
	s.records[id] = s.records[otherID]
	fails("GET "+path, "", http.StatusInternalServerError, "InvalidCiphertext")
	s.records[id] = right

	m, key := s.outside(t)
	_, err = m.DisableKey(t.Context(), key)
	require.NoError(t, err)
	s.k.Store.OnGet(func(string) error { return errors.New("db1.internal: connection refused") })
	fails("GET "+path, "", http.StatusServiceUnavailable, "Rejected.Unavailable")
	require.Contains(t, s.log.String(), "db1.internal", "the log has what the caller was not told")
	s.k.Store.OnGet(nil)

	_, err = m.ScheduleKeyDeletion(t.Context(), key, 7)
	require.NoError(t, err)
	fails("GET "+path, "", http.StatusConflict, "Rejected.PendingDeletion")
	status, answer := s.call(t, operatorToken, "POST /key/enable", "")
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "Rejected.StateModifiedFailed", answer["code"])
	s.k.Clock.AdvanceDays(7)
	fails("GET "+path, "", http.StatusGone, "Forbidden.KeyNotFound")
}

// TestAuthorize: behind the handlers stands a second guard.
func TestAuthorize(t *testing.T) {
	s := newSubject(t)
	_, key := s.outside(t)
	acme, globex := caller{role: tenant, tenant: "acme"}, caller{role: tenant, tenant: "globex"}
	c, err := s.k.Encrypt(as(t.Context(), acme), key, []byte(secret), purpose(acme, "1"))
	require.NoError(t, err)
	for _, who := range []caller{{}, globex, {role: operator}, {role: itself}} {
		_, err := s.k.Decrypt(as(t.Context(), who), c, purpose(acme, "1"))
		require.ErrorIs(t, err, kms.ErrDenied)
		_, err = s.k.ScheduleKeyDeletion(as(t.Context(), who), key, 7)
		require.ErrorIs(t, err, kms.ErrDenied)
	}
	_, err = s.k.Decrypt(t.Context(), c, purpose(acme, "1"))
	require.ErrorIs(t, err, kms.ErrDenied, "a context that says nothing is nobody's")
}

// TestLog: it tells the operations and their codes, and no secret.
func TestLog(t *testing.T) {
	s := newSubject(t)
	path := s.add(t, secret)
	s.call(t, operatorToken, "POST /key/disable", "")
	s.call(t, acmeToken, "GET "+path, "")
	_, key := s.outside(t)
	require.Contains(t, s.log.String(), `"op":"Encrypt","key":"`+key+`","result":"ok"`)
	require.Contains(t, s.log.String(), `"op":"Decrypt","key":"`+key+`","result":"Rejected.Disabled"`)
	for _, s2 := range []string{secret, "Monday", acmeToken, operatorToken} {
		require.NotContains(t, s.log.String(), s2)
	}
}

func TestCallersAreRefused(t *testing.T) {
	for _, content := range []string{
		``, `{}`, `{"operator":"short"}`,
		`{"operator":"a-token-of-two-callers","tenants":{"acme":"a-token-of-two-callers"}}`,
		`{"operator":"a-token-of-the-operator","tenants":{"acme":""}}`,
	} {
		path := filepath.Join(t.TempDir(), "callers.json")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := readCallers(path)
		require.Error(t, err, content)
	}
}
