package kms

import (
	"reflect"
	"time"

	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/sealing"
)

// RecordDates are the fields of a record that hold a date.
func RecordDates() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[record]()) {
		if f.IsExported() && f.Type == reflect.TypeFor[time.Time]() {
			names = append(names, f.Name)
		}
	}
	return names
}

// Standing tells of a key that is for an operation, in that state, and with a date set where one
// is named, whether the operation counts as allowed at any time, and whether it is at one.
func Standing(op Op, s State, date string, at time.Time) (always bool, allowedAt func(time.Time) bool) {
	keys, err := sealing.Derive(DefaultInstance, nil, 0, make([]byte, sealing.KeySize))
	if err != nil {
		panic(err)
	}
	m := &Manager{}
	m.home.Store(&instanceEntry{keys: keys})
	r := recordIn(op, s, time.Unix(1e9, 0))
	r.keys = keys
	if date != "" {
		reflect.ValueOf(r).Elem().FieldByName(date).Set(reflect.ValueOf(at))
	}
	return m.standing(r).has(op), func(now time.Time) bool {
		return r.obstacles(&call{op: op, moment: fresh.Moment{At: now}}, m.home.Load()) == 0
	}
}
