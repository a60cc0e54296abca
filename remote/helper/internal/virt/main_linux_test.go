package virt

import (
	"testing"

	"vxorch/remote/helper/internal/virt/virttest"
)

func TestMain(m *testing.M) { virttest.Main(m) }
