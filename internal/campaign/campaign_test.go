package campaign_test

import (
	"testing"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	for _, row := range []struct {
		variable string
		want     int
	}{
		{"", 20}, {"1", 1000}, {"0.1", 100}, {"0.001", 20},
	} {
		t.Setenv(campaign.Variable, row.variable)
		require.Equal(t, row.want, campaign.Size(20, 1000), "%q", row.variable)
		require.Equal(t, row.variable != "", campaign.Running(), "%q", row.variable)
	}
	for _, bad := range []string{"yes", "0", "-1", "2", "NaN", "10%"} {
		t.Setenv(campaign.Variable, bad)
		require.Panics(t, func() { campaign.Size(1, 2) }, "%q", bad)
	}
}
