package providertest

// Promises are all cases.
var Promises = promises()
