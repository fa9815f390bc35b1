package keyid_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/stretchr/testify/require"
)

// TestParse: an ID has one spelling.
func TestParse(t *testing.T) {
	id := new(keyid.Source).Next(time.Now())
	text := id.String()
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, text)
	parsed, ok := keyid.Parse(text)
	require.True(t, ok)
	require.Equal(t, id, parsed)
	for _, other := range []string{
		"", text[1:], text + "0", strings.ToUpper(text), strings.Replace(text, "-", "+", 1),
		"{" + text[1:35] + "}", "g" + text[1:], text[:35] + "\xff", text[:35] + " ",
	} {
		if other == text { // no letter in it to be a capital
			continue
		}
		_, ok := keyid.Parse(other)
		require.False(t, ok, "%q", other)
	}
}

// TestText: an ID in JSON is its text, and no other text is read.
func TestText(t *testing.T) {
	id := new(keyid.Source).Next(time.Unix(1e9, 0))
	written, err := json.Marshal(map[string]keyid.ID{"id": id})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+id.String()+`"}`, string(written))
	var read map[string]keyid.ID
	require.NoError(t, json.Unmarshal(written, &read))
	require.Equal(t, id, read["id"])
	require.Error(t, json.Unmarshal([]byte(`{"id":"`+strings.Repeat("0", 36)+`"}`), &read))
}

// TestNext: IDs grow within a millisecond, when the clock is set back, and for callers that come
// together; a time before 1970 is no reason to stop.
func TestNext(t *testing.T) {
	var s keyid.Source
	at := time.Unix(1e9, 0)
	last := s.Next(at)
	for _, now := range []time.Time{at, at, at.Add(time.Millisecond), at.Add(-time.Hour), time.Unix(-1, 0), at.Add(time.Hour)} {
		id := s.Next(now)
		require.Positive(t, id.Compare(last))
		require.Positive(t, strings.Compare(id.String(), last.String()))
		last = id
	}
	var all sync.Map
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 1000 {
				id := s.Next(at)
				_, twice := all.LoadOrStore(id, true)
				if twice {
					t.Errorf("%s was made twice", id)
				}
			}
		})
	}
	callers.Wait()
}
