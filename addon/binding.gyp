{
	"targets": [
		{
			"target_name": "sockmap",
			"sources": [
				"addon.cc", "bpf.cc", "btf.cc", "lane.cc", "maps.cc", "probe.cc", "relay.cc", "relay_wrap.cc", "sockmap.cc", "spill.cc",
				"splice.cc", "tcp.cc", "tunnel.cc"
			],
			"include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
			"defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
			"cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
			"cflags!": ["-Wno-unused-parameter"],
			"cflags_cc": ["-fexceptions"],
			"cflags_cc!": ["-fno-exceptions"]
		}
	]
}
