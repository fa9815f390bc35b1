package kms_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRunEveryMinute: Run maintains at once, and then every minute until its context ends.
func TestRunEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, passes := time.Now(), []time.Duration{}
		k := kmstest.New(t, func(c *kms.Config) {
			c.Observe = func(_ context.Context, e kms.Event) {
				if e.Op == kms.OpMaintain {
					passes = append(passes, time.Since(begun))
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		require.ErrorIs(t, k.Run(ctx), context.DeadlineExceeded)
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute}, passes)
		require.Equal(t, 150*time.Second, time.Since(begun), "it went on")
	})
}
