//! The peers, and how each is told to do the same: forward everything to one upstream over kept connections, with one
//! worker, without an access log and without holding streams back.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::super::servers::{Server, pinned_to};
use super::install::{envoy, program};

/// What people would run instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    Traefik,
    VllmRouter,
    SglangRouter,
    Portkey,
    LiteLlm,
}

impl Peer {
    pub(super) const ALL: [Peer; 9] = [
        Peer::Nginx,
        Peer::Haproxy,
        Peer::Envoy,
        Peer::Caddy,
        Peer::Traefik,
        Peer::VllmRouter,
        Peer::SglangRouter,
        Peer::Portkey,
        Peer::LiteLlm,
    ];

    /// As typed after `--only`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
            Peer::Envoy => "envoy",
            Peer::Caddy => "caddy",
            Peer::Traefik => "traefik",
            Peer::VllmRouter => "vllm-router",
            Peer::SglangRouter => "sglang-router",
            Peer::Portkey => "portkey",
            Peer::LiteLlm => "litellm",
        }
    }

    /// As written in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Peer::Nginx => "nginx",
            Peer::Haproxy => "HAProxy",
            Peer::Envoy => "Envoy",
            Peer::Caddy => "Caddy",
            Peer::Traefik => "Traefik",
            Peer::VllmRouter => "vLLM router",
            Peer::SglangRouter => "SGLang router",
            Peer::Portkey => "Portkey gateway",
            Peer::LiteLlm => "LiteLLM proxy",
        }
    }

    /// Starts it on a free loopback port and one core.
    pub(super) fn start(
        self,
        folder: &Path,
        core: usize,
        upstream: SocketAddr,
        within: Duration,
    ) -> Result<Server> {
        let folder = folder.join(self.name());
        fs::create_dir_all(&folder)?;
        let listen = free_port()?;
        let setting = Setting { folder: &folder, core, listen, upstream };
        let mut command = match self {
            Peer::Nginx => setting.nginx()?,
            Peer::Haproxy => setting.haproxy()?,
            Peer::Envoy => setting.envoy()?,
            Peer::Caddy => setting.caddy()?,
            Peer::Traefik => setting.traefik()?,
            Peer::VllmRouter => setting.router("bin/vllm-router", self, &[])?,
            Peer::SglangRouter => setting.router("bin/sglang-router", self, &["launch"])?,
            Peer::Portkey => setting.portkey()?,
            Peer::LiteLlm => setting.litellm()?,
        };
        let log = fs::File::create(folder.join("log"))?;
        command.stdout(log.try_clone()?).stderr(log).current_dir(&folder);
        let mut server = Server::told(self.name(), command, listen, within)?;
        if self == Peer::Portkey {
            // It is told by each request where to go.
            server.headers = vec![
                "x-portkey-provider: openai".into(),
                format!("x-portkey-custom-host: http://{upstream}/v1"),
                "authorization: Bearer none".into(),
            ];
        }
        Ok(server)
    }
}

struct Setting<'a> {
    folder: &'a Path,
    core: usize,
    listen: SocketAddr,
    upstream: SocketAddr,
}

impl Setting<'_> {
    fn pinned(&self, program: &Path) -> Command {
        pinned_to(&[self.core], program)
    }

    fn file(&self, name: &str, text: &str) -> Result<std::path::PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn nginx(&self) -> Result<Command> {
        let (listen, upstream) = (self.listen, self.upstream);
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {}/{name};\n", self.folder.display()))
            .concat();
        let config = self.file(
            "nginx.conf",
            &format!(
                "worker_processes 1;\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\n\
                 events {{ worker_connections 4096; }}\nhttp {{\n{paths}  access_log off;\n  keepalive_requests 1000000000;\n  \
                 upstream model {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n  \
                 server {{\n    listen {listen};\n    client_max_body_size 100m;\n    location / {{\n      \
                 proxy_pass http://model;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
                 proxy_buffering off;\n    }}\n  }}\n}}\n",
                folder = self.folder.display()
            ),
        )?;
        let mut command = self.pinned(Path::new("nginx"));
        command.arg("-c").arg(config);
        Ok(command)
    }

    fn haproxy(&self) -> Result<Command> {
        let config = self.file(
            "haproxy.cfg",
            &format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
                 timeout server 60s\n  http-reuse always\nfrontend in\n  bind {}\n  default_backend model\n\
                 backend model\n  server model {} pool-max-conn 64\n",
                self.listen, self.upstream
            ),
        )?;
        let mut command = self.pinned(Path::new("haproxy"));
        command.arg("-f").arg(config);
        Ok(command)
    }

    fn envoy(&self) -> Result<Command> {
        let api = "type.googleapis.com/envoy.extensions.filters";
        let address = |address: SocketAddr| {
            format!("{{socket_address: {{address: {}, port_value: {}}}}}", address.ip(), address.port())
        };
        let config = self.file(
            "envoy.yaml",
            &format!(
                "static_resources:\n  listeners:\n  - address: {listen}\n    filter_chains:\n    - filters:\n      \
                 - name: http\n        typed_config:\n          \
                 \"@type\": {api}.network.http_connection_manager.v3.HttpConnectionManager\n          \
                 stat_prefix: in\n          route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], routes: \
                 [{{match: {{prefix: /}}, route: {{cluster: model, timeout: 0s}}}}]}}]}}\n          \
                 http_filters: [{{name: router, typed_config: {{\"@type\": {api}.http.router.v3.Router}}}}]\n  \
                 clusters:\n  - name: model\n    connect_timeout: 5s\n    type: STATIC\n    load_assignment: \
                 {{cluster_name: model, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {upstream}}}}}]}}]}}\n",
                listen = address(self.listen),
                upstream = address(self.upstream),
            ),
        )?;
        let mut command = self.pinned(&envoy()?);
        command.arg("-c").arg(config).args(["--concurrency", "1", "--disable-hot-restart"]);
        command.args(["--log-level", "warn"]);
        Ok(command)
    }

    fn caddy(&self) -> Result<Command> {
        let config = self.file(
            "Caddyfile",
            &format!(
                "{{\n  admin off\n  auto_https off\n}}\nhttp://{listen} {{\n  bind {ip}\n  reverse_proxy {upstream} {{\n    \
                 flush_interval -1\n    transport http {{\n      keepalive_idle_conns_per_host 64\n    }}\n  }}\n}}\n",
                listen = self.listen,
                ip = self.listen.ip(),
                upstream = self.upstream,
            ),
        )?;
        let mut command = self.pinned(&program(Peer::Caddy, "bin/caddy"));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
        command.env("GOMAXPROCS", "1").env("XDG_DATA_HOME", self.folder).env("XDG_CONFIG_HOME", self.folder);
        Ok(command)
    }

    fn traefik(&self) -> Result<Command> {
        let routes = self.file(
            "routes.yaml",
            &format!(
                "http:\n  routers: {{all: {{rule: \"PathPrefix(`/`)\", service: model}}}}\n  services: {{model: \
                 {{loadBalancer: {{servers: [{{url: \"http://{}\"}}]}}}}}}\n",
                self.upstream
            ),
        )?;
        let config = self.file(
            "traefik.yaml",
            &format!(
                "entryPoints: {{web: {{address: \"{}\"}}}}\nproviders: {{file: {{filename: {}}}}}\n\
                 serversTransport: {{maxIdleConnsPerHost: 64}}\n\
                 global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n",
                self.listen,
                routes.display()
            ),
        )?;
        let mut command = self.pinned(&program(Peer::Traefik, "bin/traefik"));
        command.arg(format!("--configFile={}", config.display())).env("GOMAXPROCS", "1");
        Ok(command)
    }

    fn router(&self, path: &str, peer: Peer, first: &[&str]) -> Result<Command> {
        let mut command = self.pinned(&program(peer, path));
        command.args(first).args(["--host", &self.listen.ip().to_string()]);
        command.args(["--port", &self.listen.port().to_string()]);
        command.args(["--worker-urls", &format!("http://{}", self.upstream), "--policy", "round_robin"]);
        command.args(["--log-level", "error", "--disable-retries", "--prometheus-host", "127.0.0.1"]);
        command.args(["--prometheus-port", &free_port()?.port().to_string()]);
        Ok(command)
    }

    fn portkey(&self) -> Result<Command> {
        // It listens on every address; nothing here may.
        let shim = self.file(
            "loopback.cjs",
            "const {Server} = require('net');\nconst listen = Server.prototype.listen;\n\
             Server.prototype.listen = function (first, ...rest) {\n  \
             const port = typeof first === 'object' && first !== null ? first.port : first;\n  \
             const done = rest.find((one) => typeof one === 'function');\n  \
             return listen.call(this, {port, host: '127.0.0.1'}, done);\n};\n",
        )?;
        let mut command = self.pinned(Path::new("node"));
        command.arg("--require").arg(shim);
        command.arg(program(Peer::Portkey, "node_modules/@portkey-ai/gateway/build/start-server.js"));
        command.args(["--headless", &format!("--port={}", self.listen.port())]);
        Ok(command)
    }

    fn litellm(&self) -> Result<Command> {
        let config = self.file(
            "litellm.yaml",
            &format!(
                "model_list:\n- model_name: bench-7b\n  litellm_params: {{model: openai/bench-7b, api_base: \
                 \"http://{}/v1\", api_key: none}}\n\
                 general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}\n",
                self.upstream
            ),
        )?;
        let mut command = self.pinned(&program(Peer::LiteLlm, "bin/litellm"));
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &self.listen.port().to_string(),
            "--num_workers",
            "1",
        ]);
        command.arg("--config").arg(config).stdin(Stdio::null());
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
        Ok(command)
    }
}

/// Free when asked; the peers cannot choose one themselves and say which.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
