export {sockmap} from './sockmap.ts';
export {Tunnels, type TunnelsEvents} from './tunnels.ts';
export {capabilities, type Capabilities, type Capability, type Refusal} from './engine.ts';
export {SockmapError} from './errors.ts';
export {Tunnel, type TunnelKind} from './tunnel.ts';
export {type Target} from './authority.ts';
export {type ProxyLike} from './attach.ts';
export {type Allow, type ConnectOptions, type Engine, type KeepAlive, type Options, type TunnelOptions} from './options.ts';
export {type ConnectionStats, type Ending, type LaneStats, type Lanes, type TunnelsStats, type TunnelStats} from './stats.ts';
