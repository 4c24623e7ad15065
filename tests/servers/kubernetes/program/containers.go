package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kubeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	apitest "k8s.io/cri-api/pkg/apis/testing"
)

// containers is a container runtime whose containers are processes, each pod with an address on the loopback.
// A container without a command is pretended: it runs until it is stopped.
type containers struct {
	*apitest.FakeRuntimeService
	podPrefix string
	root      string
	last      int // of the addresses given out
	configs   map[string]*kubeapi.ContainerConfig
	running   map[string]*process
}

func newContainers(podPrefix, root string) *containers {
	fake := apitest.NewFakeRuntimeService()
	fake.FakeStatus = runtimeReady()
	return &containers{
		fake, podPrefix, root, 0, map[string]*kubeapi.ContainerConfig{}, map[string]*process{},
	}
}

// images has every image but those of registries below .invalid, which is a name of no host (RFC 2606).
type images struct{ *apitest.FakeImageService }

func newImages() *images { return &images{apitest.NewFakeImageService()} }

func (i *images) PullImage(
	ctx context.Context, image *kubeapi.ImageSpec, auth *kubeapi.AuthConfig, pod *kubeapi.PodSandboxConfig,
) (string, error) {
	if registry, _, found := strings.Cut(image.Image, "/"); found && strings.HasSuffix(registry, ".invalid") {
		return "", status.Errorf(codes.NotFound, "failed to pull %q: no such host", image.Image)
	}
	return i.FakeImageService.PullImage(ctx, image, auth, pod)
}

func (c *containers) RunPodSandbox(
	ctx context.Context, config *kubeapi.PodSandboxConfig, handler string,
) (string, error) {
	id, err := c.FakeRuntimeService.RunPodSandbox(ctx, config, handler)
	if err != nil {
		return "", err
	}
	c.Lock()
	defer c.Unlock()
	address, err := c.freeAddress(id)
	if err != nil {
		return "", err
	}
	c.Sandboxes[id].Network = &kubeapi.PodSandboxNetworkStatus{Ip: address}
	return id, os.MkdirAll(config.LogDirectory, 0o700)
}

// freeAddress is one that no other sandbox has; one that was given back is used again as late as can be.
func (c *containers) freeAddress(id string) (string, error) {
	used := map[string]bool{}
	for other, sandbox := range c.Sandboxes {
		if other != id && sandbox.Network != nil {
			used[sandbox.Network.Ip] = true
		}
	}
	for range 254 {
		c.last = c.last%254 + 1
		if address := fmt.Sprintf("%s%d", c.podPrefix, c.last); !used[address] {
			return address, nil
		}
	}
	return "", fmt.Errorf("all 254 addresses %s* are in use", c.podPrefix)
}

func (c *containers) CreateContainer(
	ctx context.Context, sandbox string, config *kubeapi.ContainerConfig, pod *kubeapi.PodSandboxConfig,
) (string, error) {
	id, err := c.FakeRuntimeService.CreateContainer(ctx, sandbox, config, pod)
	if err == nil {
		c.Lock()
		defer c.Unlock()
		c.configs[id] = config
		c.Containers[id].LogPath = filepath.Join(pod.LogDirectory, config.LogPath)
	}
	return id, err
}

func (c *containers) StartContainer(ctx context.Context, id string) error {
	if err := c.FakeRuntimeService.StartContainer(ctx, id); err != nil {
		return err
	}
	c.Lock()
	config, container := c.configs[id], c.Containers[id]
	address := c.Sandboxes[container.SandboxID].Network.Ip
	c.Unlock()
	if len(config.Command)+len(config.Args) == 0 {
		return nil
	}
	started, err := startProcess(config, address, c.root, container.LogPath)
	if err != nil {
		c.over(id, exit{128, "StartError", err.Error()})
		return err
	}
	c.Lock()
	c.running[id] = started
	c.Unlock()
	go func() {
		how := started.wait()
		c.over(id, how)
		close(started.ended)
	}()
	return nil
}

func (c *containers) over(id string, how exit) {
	c.Lock()
	defer c.Unlock()
	delete(c.running, id)
	if container, ok := c.Containers[id]; ok {
		container.State = kubeapi.ContainerState_CONTAINER_EXITED
		container.FinishedAt = time.Now().UnixNano()
		container.ExitCode, container.Reason, container.Message = how.code, how.reason, how.message
	}
}

func (c *containers) StopContainer(ctx context.Context, id string, seconds int64) error {
	c.Lock()
	running := c.running[id]
	c.Unlock()
	if running == nil {
		return c.FakeRuntimeService.StopContainer(ctx, id, seconds)
	}
	running.stop(time.Duration(seconds) * time.Second)
	return nil
}

func (c *containers) RemoveContainer(ctx context.Context, id string) error {
	c.Lock()
	delete(c.configs, id)
	c.Unlock()
	return c.FakeRuntimeService.RemoveContainer(ctx, id)
}

func (c *containers) killAll() {
	c.Lock()
	defer c.Unlock()
	for _, running := range c.running {
		running.kill()
	}
}
