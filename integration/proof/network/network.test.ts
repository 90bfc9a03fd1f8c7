import {nothingIsLeft} from '../../leaks.ts';
import {cuts} from './cut.ts';
import {cutForGood} from './dead.ts';
import {far} from './far.ts';
import {faults} from './faults.ts';
import {reboots} from './reboot.ts';
import {registerFaults} from './register.ts';
import {repeats} from './repeated.ts';
import {slow} from './slow.ts';

nothingIsLeft();

registerFaults({
	...cuts, ...reboots, ...cutForGood, ...slow, ...far, ...faults, ...repeats,
});
