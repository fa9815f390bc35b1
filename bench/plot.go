package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Measures of the plot, in pixels.
const (
	plotWidth  = 860
	plotLabels = 300 // at the left, for names
	plotFigure = 110 // at the right, for figures
	plotBar    = 18
	plotGap    = 44
)

// A chart is some contestants in one task, as bars.
type chart struct {
	title string
	bars  []*result
}

// plot is an SVG of charts below one another: how long each takes, on a scale of powers of ten.
func plot(charts []chart, caption string) string {
	var b strings.Builder
	least, most, height := math.Inf(1), 0.0, 46
	for _, c := range charts {
		for _, r := range c.bars {
			least, most = min(least, r.quiet), max(most, r.quiet)
		}
		height += plotGap + plotBar*len(c.bars)
	}
	low := math.Floor(math.Log10(least))
	scale := (plotWidth - plotLabels - plotFigure) / (math.Log10(most) - low)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
	y := 8
	for _, c := range charts {
		y += plotGap - 16
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(c.title))
		y += 8
		bars := slices.Clone(c.bars)
		slices.SortStableFunc(bars, func(a, b *result) int { return cmp.Compare(a.quiet, b.quiet) })
		for _, r := range bars {
			width := (math.Log10(r.quiet) - low) * scale
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLabels-8, y+13, html.EscapeString(r.name))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, plotLabels, y+2, width, plotBar-4, colour(r.name))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s ns</text>`+"\n", plotLabels+width+6, y+13, spaced(r.quiet))
			y += plotBar
		}
		y += 8
	}
	fmt.Fprintf(&b, `<text x="8" y="%d" font-size="11" fill="#666666">%s</text>`+"\n</svg>\n", y+24, html.EscapeString(caption))
	return b.String()
}

func colour(name string) string {
	switch {
	case strings.HasPrefix(name, "keyhold"):
		return "#1f6feb"
	case strings.HasPrefix(name, "raw"), name == "least KMS":
		return "#9aa4ae"
	default:
		return "#d6a35c"
	}
}
