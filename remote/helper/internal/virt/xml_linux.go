package virt

import (
	"encoding/xml"

	"vxorch/remote/hostapi"
)

// libvirt's documents, as far as they are written or read here, by
// formatdomain.html and formatnetwork.html. libvirt.org/go/libvirtxml knows all
// of them, at the price of half a megabyte of helper; and of an interface that
// runs it drops the network.

type networkXML struct {
	XMLName  xml.Name   `xml:"network"`
	Name     string     `xml:"name"`
	Metadata metadata   `xml:"metadata"`
	Forward  forwardXML `xml:"forward"`
	Bridge   bridgeXML  `xml:"bridge"`
}

type forwardXML struct {
	Mode string `xml:"mode,attr"`
}

type bridgeXML struct {
	Name string `xml:"name,attr"`
}

type domainXML struct {
	XMLName  xml.Name   `xml:"domain"`
	Type     string     `xml:"type,attr"`
	Name     string     `xml:"name"`
	UUID     string     `xml:"uuid,omitempty"` // of one that is defined again
	Metadata metadata   `xml:"metadata"`
	Memory   memoryXML  `xml:"memory"`
	VCPUs    int        `xml:"vcpu"`
	OS       osXML      `xml:"os"`
	ACPI     *struct{}  `xml:"features>acpi"`
	CPU      *cpuXML    `xml:"cpu"`
	Devices  devicesXML `xml:"devices"`
}

type memoryXML struct {
	Unit  string `xml:"unit,attr"` // libvirt answers in KiB
	Value int64  `xml:",chardata"`
}

type osXML struct {
	Type struct {
		Machine string `xml:"machine,attr,omitempty"`
		Value   string `xml:",chardata"`
	} `xml:"type"`
	Boot deviceXML `xml:"boot"`
}

type cpuXML struct {
	Mode string `xml:"mode,attr"`
}

type devicesXML struct {
	Disks       []diskXML       `xml:"disk"`
	Controllers []controllerXML `xml:"controller"`
	Interfaces  []interfaceXML  `xml:"interface"`
	Serials     []serialXML     `xml:"serial"`
	Consoles    []serialXML     `xml:"console"`
	Graphics    []graphicsXML   `xml:"graphics"`
	RNGs        []rngXML        `xml:"rng"`
	Balloon     *modelXML       `xml:"memballoon"`
}

type deviceXML struct {
	Dev string `xml:"dev,attr"`
}

type modelXML struct {
	Model string `xml:"model,attr"`
}

type diskXML struct {
	Type   string `xml:"type,attr"`
	Device string `xml:"device,attr"`
	Driver struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source  fileXML     `xml:"source"`
	Backing *backingXML `xml:"backingStore"`
	Target  struct {
		Dev string `xml:"dev,attr"`
		Bus string `xml:"bus,attr"`
	} `xml:"target"`
	ReadOnly *struct{} `xml:"readonly"`
}

type fileXML struct {
	File  string    `xml:"file,attr"`
	Label *labelXML `xml:"seclabel"`
}

type labelXML struct {
	Model   string `xml:"model,attr"`
	Relabel string `xml:"relabel,attr"`
}

type backingXML struct {
	Type   string `xml:"type,attr"`
	Format struct {
		Type string `xml:"type,attr"`
	} `xml:"format"`
	Source fileXML `xml:"source"`
}

type controllerXML struct {
	Type  string `xml:"type,attr"`
	Model string `xml:"model,attr,omitempty"`
}

type interfaceXML struct {
	Type string `xml:"type,attr"`
	MAC  struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
	Source struct {
		Network string `xml:"network,attr,omitempty"`
		Bridge  string `xml:"bridge,attr,omitempty"` // where it runs
	} `xml:"source"`
	Target deviceXML `xml:"target"`
	Model  struct {
		Type string `xml:"type,attr"`
	} `xml:"model"`
	MTU *mtuXML `xml:"mtu"`
}

type mtuXML struct {
	Size int `xml:"size,attr"`
}

type serialXML struct {
	Type   string  `xml:"type,attr"`
	Log    *logXML `xml:"log"`
	Target struct {
		Type string `xml:"type,attr,omitempty"`
		Port int    `xml:"port,attr"`
	} `xml:"target"`
}

type logXML struct {
	File   string `xml:"file,attr"`
	Append string `xml:"append,attr"`
}

type graphicsXML struct {
	Type     string `xml:"type,attr"`
	Port     int    `xml:"port,attr"` // -1: libvirt chooses
	AutoPort string `xml:"autoport,attr"`
	Password string `xml:"passwd,attr,omitempty"`
	Listen   struct {
		Type    string `xml:"type,attr"`
		Address string `xml:"address,attr"`
	} `xml:"listen"`
}

type rngXML struct {
	Model   string `xml:"model,attr"`
	Backend struct {
		Model string `xml:"model,attr"`
		Value string `xml:",chardata"`
	} `xml:"backend"`
}

// metadata is what is kept in a network's or a domain's <metadata>: one element
// a namespace, for whoever defined it.
type metadata struct {
	Mark *mark `xml:"https://vxorch.dev/xmlns/1 mark"`
}

// mark is the lab's mark. A domain's says also what the domain was made from.
// Values are untrusted text.
type mark struct {
	Lab        string `xml:"lab,attr"`
	For        string `xml:"for,attr"`
	User       string `xml:"user,attr"`
	Controller string `xml:"controller,attr"`
	Spec       string `xml:"spec,attr,omitempty"`  // hostapi.Domain.Spec
	Image      string `xml:"image,attr,omitempty"` // path of the image that the overlay stands on
	Shape      string `xml:"shape,attr,omitempty"` // domainXML.shape
}

// public is m as others see it; nil stays nil.
func (m *mark) public() *hostapi.Mark {
	if m == nil || m.Lab == "" {
		return nil
	}
	return &hostapi.Mark{Lab: m.Lab, For: m.For, User: m.User, Controller: m.Controller}
}
