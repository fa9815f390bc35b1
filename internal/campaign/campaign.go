// Package campaign tells tests how much to do: little in go test, all of it in a campaign, or a
// share. It uses the standard library alone.
package campaign

import (
	"fmt"
	"os"
	"strconv"
)

// Variable is the environment variable that says which share of a campaign is run: 1 is all
// of it, 0.1 a tenth. Unset or empty: tests are short.
const Variable = "KEYHOLD_CAMPAIGN"

// Share is what the variable says; 0 where there is no campaign. It panics where the variable is
// no number above 0 and up to 1: a campaign that did less than it was told to must not pass.
func Share() float64 {
	text := os.Getenv(Variable)
	if text == "" {
		return 0
	}
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || !(share > 0 && share <= 1) {
		panic(fmt.Sprintf("campaign: %s is no number above 0 and up to 1", Variable))
	}
	return share
}

// Running tells whether a campaign is run, or a share of one.
func Running() bool { return Share() > 0 }

// Size is how much of something to do: short without a campaign, and with one its share of full,
// but never less than short.
func Size(short, full int) int {
	return max(short, int(Share()*float64(full)))
}
