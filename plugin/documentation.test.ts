import {readFileSync} from 'node:fs';
import test from 'ava';
import ts from 'typescript';

const main = exportsOf('index.ts');

for (const {name, declaration} of [...main, ...exportsOf('prom.ts')]) {
	test(`${name} says what it means, and so does each of its members`, t => {
		t.deepEqual([declaration, ...membersOf(declaration)].filter(node => !isExplained(node)).map(node => nameOf(node)), []);
	});
}

for (const {name, declaration} of main.filter(({name}) => name.endsWith('Options'))) {
	test(`each of ${name} says what holds without it`, t => {
		const options = membersOf(declaration);
		t.true(options.length > 0);
		t.deepEqual(options.filter(option => !ts.getJSDocTags(option).some(({tagName}) => tagName.text === 'default')).map(node => nameOf(node)), []);
	});
}

type Export = {readonly name: string; readonly declaration: ts.DeclarationStatement};

function exportsOf(file: string): readonly Export[] {
	return parse(file).statements.flatMap(statement => {
		if (ts.isExportDeclaration(statement)) {
			const {text} = statement.moduleSpecifier as ts.StringLiteral;
			const names = new Set((statement.exportClause as ts.NamedExports).elements.map(({name}) => name.text));
			return exportsOf(text).filter(({name}) => names.has(name));
		}

		const isExport = ts.canHaveModifiers(statement) && ts.getModifiers(statement)?.some(({kind}) => kind === ts.SyntaxKind.ExportKeyword);
		return isExport ? [{name: nameOf(statement), declaration: statement as ts.Statement as ts.DeclarationStatement}] : [];
	});
}

// What is written as a member of it, wherever in the type. What is inside of a function, and what nobody sees, is not.
function membersOf(node: ts.Node): readonly ts.Node[] {
	return ts.isFunctionLike(node) ? [] : childrenOf(node).filter(child => !isHidden(child)).flatMap(child => isMember(child) ? [child, ...membersOf(child)] : membersOf(child));
}

function childrenOf(node: ts.Node): readonly ts.Node[] {
	const children: ts.Node[] = [];
	node.forEachChild(child => {
		children.push(child);
	});
	return children;
}

function isMember(node: ts.Node): boolean {
	return ts.isPropertySignature(node) || ts.isPropertyDeclaration(node) || ts.isMethodSignature(node) || ts.isMethodDeclaration(node) || ts.isGetAccessor(node) || ts.isConstructorDeclaration(node);
}

function isHidden(node: ts.Node): boolean {
	const {name} = node as ts.NamedDeclaration;
	return (name !== undefined && ts.isPrivateIdentifier(name)) || ts.getJSDocTags(node).some(({tagName}) => tagName.text === 'internal')
		|| (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({kind}) => kind === ts.SyntaxKind.OverrideKeyword) === true);
}

// What can only have one value, to tell one type from another, is explained where these are.
function isExplained(node: ts.Node): boolean {
	return (ts.isPropertySignature(node) && node.type !== undefined && ts.isLiteralTypeNode(node.type)) || ts.getJSDocCommentsAndTags(node).some(part => ts.isJSDoc(part) && part.comment !== undefined);
}

function nameOf(node: ts.Node): string {
	return (node as ts.NamedDeclaration).name?.getText() ?? ts.SyntaxKind[node.kind];
}

function parse(file: string): ts.SourceFile {
	return ts.createSourceFile(file, readFileSync(new URL(file, import.meta.url), 'utf8'), ts.ScriptTarget.Latest, true);
}
