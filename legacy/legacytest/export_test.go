package legacytest

// Promises are all cases.
var Promises = promises()
