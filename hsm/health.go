package hsm

// Health is what a token says of itself.
type Health struct {
	Label, Serial       string
	Manufacturer, Model string
	Firmware            string // its version
	Busy, Most          int    // calls that are in the module, and how many may be at once
	Connections         int    // how often a connection was made, the first included
}

// An Object is a key in the token that is listed as an orphan.
type Object struct {
	ID    string // under which the service knows it: the key's ID, a slash and the version
	CKAID string // in hex: what tools of the token call it
	Twin  bool   // the service has a key of that ID, and the token two
}
