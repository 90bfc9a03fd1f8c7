import {nothingIsLeft} from '../../leaks.ts';
import {emulated, impossibleNetem} from './netem.ts';
import {registerFaults} from './register.ts';
import {impossibleWorld} from './world.ts';

nothingIsLeft();

registerFaults(emulated, {reason: impossibleWorld() ?? impossibleNetem()});
