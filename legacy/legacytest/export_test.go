package legacytest

// TB is what a case needs of *testing.T.
type TB = tb

// Names returns the name of every case, in order, with why it matters.
func Names() (names, whys []string) {
	for _, c := range cases() {
		names, whys = append(names, c.name), append(whys, c.why)
	}
	return names, whys
}

// Check runs the case of that name.
func Check(name string, t TB, s Subject) {
	for _, c := range cases() {
		if c.name == name {
			c.check(t, s)
			return
		}
	}
	t.Fatalf("no case is called %q", name)
}
